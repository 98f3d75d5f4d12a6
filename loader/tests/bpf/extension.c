/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program with a function, and programs that go on that function: one replaces it, others trace it. */
#include "test.h"

u64 hits;

/* Global: only such a function is verified by itself, and can be replaced. */
NOINLINE int replaceable(u32 value)
{
	return value + 1;
}

SEC("socket")
int extended(void *context)
{
	u64 before = hits;

	return replaceable(before == 0 ? 41 : 42);
}

SEC("?freplace/replaceable")
int replacement(u32 value)
{
	return value + 1000;
}

SEC("?freplace/no_such_function")
int replaces_nothing(u32 value)
{
	return value;
}

SEC("?fentry/replaceable")
int at_entry(u64 *context)
{
	if ((u32)context[0] == 41)
		__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("?lsm/file_open")
int at_open(u64 *context)
{
	return 0;
}

SEC("?lsm_cgroup/socket_post_create")
int at_socket(u64 *context)
{
	return 1;
}
