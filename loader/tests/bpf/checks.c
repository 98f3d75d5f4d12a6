/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs that check themselves: each returns 0, or the line of the first expectation that does not hold. They are
 * loaded and run once with BPF_PROG_TEST_RUN. The test sets `tunable` to 42 before.
 */
#include "test.h"

static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const bpf_tail_call)(void *context, void *programs, u32 index) = (void *)12;

enum libbpf_tristate { TRI_NO, TRI_YES, TRI_MODULE };

struct row {
	__uint(type, 2);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
};

struct row first SEC(".maps");
struct row second SEC(".maps");

struct {
	__uint(type, 12);
	__uint(max_entries, 3);
	__type(key, u32);
	__array(values, struct row);
} table SEC(".maps") = { .values = { [0] = &second, [2] = &first } };

int tail(void *context);

struct {
	__uint(type, 3);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { [1] = &tail } };

struct {
	__uint(type, 6);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} per_cpu SEC(".maps");

const volatile u32 tunable = 7;
const volatile char text[8] = "loader";
u64 counter = 41;
u32 own_section SEC(".data.own") = 9;
static volatile u32 zero;
u64 lost;

extern int LINUX_KERNEL_VERSION KCONFIG;
extern enum libbpf_tristate CONFIG_BPF_SYSCALL KCONFIG;
extern _Bool CONFIG_HIGH_HOPES KCONFIG WEAK;
extern int CONFIG_NEVER_HEARD_OF KCONFIG;
extern const void schedule KSYM;
extern const void no_such_symbol KSYM WEAK;
extern const void never_heard_of KSYM;
extern void bpf_rcu_read_lock(void) KSYM WEAK;
extern void bpf_rcu_read_unlock(void) KSYM WEAK;
extern void bpf_never_heard_of(void) KSYM WEAK;

struct task_struct {
	int pid;
	int never_had_this;
} __attribute__((preserve_access_index));

struct never_heard_of {
	int member;
} __attribute__((preserve_access_index));

SEC("socket")
int globals(void *context)
{
	CHECK(tunable == 42);
	CHECK(text[0] == 'l' && text[5] == 'r' && text[7] == 0);
	CHECK(counter == 41);
	counter++;
	CHECK(counter == 42);
	CHECK(own_section == 9);
	CHECK(zero == 0);
	zero = 1;
	lost = 5;
	return 0;
}

SEC("socket")
int maps_of_maps(void *context)
{
	u32 zeroth = 0, missing = 1, at = 2;
	u64 value = 77, *found;
	void *inner;

	CHECK(bpf_map_lookup_elem(&table, &missing) == 0);
	inner = bpf_map_lookup_elem(&table, &at);
	CHECK(inner);
	CHECK(bpf_map_update_elem(inner, &zeroth, &value, 0) == 0);
	found = bpf_map_lookup_elem(&first, &zeroth);
	CHECK(found && *found == 77);
	found = bpf_map_lookup_elem(&second, &zeroth);
	CHECK(found && *found == 0);
	return 0;
}

SEC("socket")
int tail(void *context)
{
	return 4242;
}

SEC("socket")
int tail_calls(void *context)
{
	bpf_tail_call(context, &jumps, 0);
	bpf_tail_call(context, &jumps, 1);
	return __LINE__;
}

SEC("socket")
int configuration(void *context)
{
	CHECK(LINUX_KERNEL_VERSION >= (5 << 16 | 8 << 8));
	CHECK(CONFIG_BPF_SYSCALL == TRI_YES);
	CHECK(!CONFIG_HIGH_HOPES);
	return 0;
}

SEC("socket")
int needs_setting(void *context)
{
	return CONFIG_NEVER_HEARD_OF;
}

SEC("socket")
int symbols(void *context)
{
	CHECK((u64)&schedule > 4096); /* where the kernel lies differs from one architecture to the next */
	CHECK(&no_such_symbol == 0);
	return 0;
}

SEC("socket")
int needs_symbol(void *context)
{
	return (int)((u64)&never_heard_of >> 63);
}

SEC("tc")
int functions(void *context)
{
	if (bpf_rcu_read_lock && bpf_rcu_read_unlock) {
		bpf_rcu_read_lock();
		bpf_rcu_read_unlock();
	}
	if (bpf_never_heard_of)
		bpf_never_heard_of();
	return 0;
}

SEC("socket")
int types(void *context)
{
	struct task_struct *task = 0;
	struct never_heard_of *other = 0;

	CHECK(__builtin_preserve_field_info(task->pid, 2) == 1);
	CHECK(__builtin_preserve_field_info(task->pid, 1) == 4);
	CHECK(__builtin_preserve_field_info(task->pid, 3) == 1);
	CHECK(__builtin_preserve_field_info(task->pid, 0) > 0);
	CHECK(__builtin_preserve_field_info(task->never_had_this, 2) == 0);
	CHECK(__builtin_preserve_field_info(other->member, 2) == 0);
	return 0;
}

SEC("socket")
int reaches_missing_field(void *context)
{
	struct task_struct *task = 0;

	return (int)__builtin_preserve_field_info(task->never_had_this, 0);
}

SEC("socket")
int rejected(void *context)
{
	return *(volatile int *)(context + 100000);
}
