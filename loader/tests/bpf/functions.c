/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Functions of every linkage, in .text and beside programs, called by name, by distance and by address. */
#include "test.h"

struct task {
	int state;
	struct {
		int pid;
	} ids;
} __attribute__((preserve_access_index));

static volatile u64 total;

static NOINLINE int leaf(int value)
{
	total += value;
	return value * 3;
}

NOINLINE int global(int value)
{
	return leaf(value) + leaf(value + 1);
}

HIDDEN NOINLINE int concealed(int value)
{
	return leaf(value) - 1;
}

WEAK NOINLINE int replaceable(int value)
{
	total -= value;
	return value;
}

static int each(u32 index, void *context)
{
	total += leaf((int)index);
	return 0;
}

static NOINLINE int pid_of(struct task *task)
{
	return task->ids.pid;
}

SEC("socket")
static NOINLINE int beside(int value)
{
	total ^= value;
	return value;
}

SEC("socket")
int calls(void *context)
{
	bpf_loop(10, each, 0, 0);
	return global(1) + concealed(2) + replaceable(3) + beside(4);
}

SEC("socket")
int again(void *context)
{
	return beside(5) + leaf(6);
}

SEC("raw_tp/sched_process_exec")
int reads(u64 *arguments)
{
	return pid_of((struct task *)arguments[0]);
}
