/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A function that the kernel calls back (5.17), and the question whether this kernel does. */
#include "test.h"

enum bpf_func_id___local {
	BPF_FUNC_loop___local,
};

const volatile u32 factor = 3;
static volatile u32 zero;

/* Nothing that the kernel may lack. */
SEC("socket")
int has_callbacks(void *context)
{
	return __builtin_preserve_enum_value(*(enum bpf_func_id___local *)BPF_FUNC_loop___local, 0);
}

static NOINLINE int thrice(int value)
{
	return value * (int)factor + (int)zero;
}

static int each(u32 index, void *context)
{
	*(u64 *)context += thrice((int)index);
	return 0;
}

SEC("socket")
int callbacks(void *context)
{
	u64 sum = 0;

	CHECK(bpf_loop(5, each, &sum, 0) == 5);
	CHECK(sum == 30 || zero);
	return 0;
}
