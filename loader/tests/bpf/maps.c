/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps of every shape that .maps can say, and variables in every data section. */
#include "test.h"

struct event {
	u64 time;
	u32 pid;
	u8 comm[16];
};

struct {
	__uint(type, 27);
	__uint(max_entries, 8192);
	__type(value, struct event);
} events SEC(".maps");

struct {
	__uint(type, 1);
	__uint(max_entries, 16384);
	__uint(map_flags, 1);
	__uint(pinning, 1);
	__type(key, u64);
	__type(value, u32);
} members SEC(".maps");

struct {
	__uint(type, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} samples SEC(".maps");

struct row {
	__uint(type, 2);
	__uint(max_entries, 3);
	__type(key, u32);
	__type(value, u64);
};

struct row first SEC(".maps");
struct row second SEC(".maps");

struct {
	__uint(type, 12);
	__uint(max_entries, 5);
	__type(key, u32);
	__array(values, struct row);
} table SEC(".maps") = { .values = { [1] = &second, [4] = &first } };

int entry(void *context);
int tail(void *context);

struct {
	__uint(type, 3);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { &tail, &entry } };

const volatile _Bool enabled = 0;
const volatile u32 limit = 77;
const volatile s32 offset = -5;
const volatile u8 name[4] = "abc";
static volatile const u64 hidden_constant = 1ULL << 40;
u64 written = 0x1122334455667788;
u32 own_section SEC(".data.own") = 9;
u64 counters[3];
static volatile u64 seen;

extern int LINUX_KERNEL_VERSION KCONFIG;
extern _Bool CONFIG_HIGH_HOPES KCONFIG WEAK;
extern const void bpf_link_fops KSYM;
extern const int runqueues KSYM WEAK;
extern void bpf_rcu_read_lock(void) KSYM WEAK;

SEC("tp_btf/sched_process_exec")
int entry(void *context)
{
	static volatile u32 in_function;
	u32 key = 0;
	u64 *value;

	if (!enabled)
		return 0;
	value = bpf_map_lookup_elem(&first, &key);
	if (value)
		*value += in_function + limit + offset + name[0] + hidden_constant;
	bpf_map_lookup_elem(&members, &written);
	bpf_map_lookup_elem(&events, &key);
	counters[key & 1] += seen++;
	in_function += own_section;
	return 0;
}

SEC("?tracepoint/syscalls/sys_enter_openat")
int tail(void *context)
{
	bpf_map_lookup_elem(&table, context);
	bpf_map_lookup_elem(&jumps, context);
	bpf_map_lookup_elem(&samples, context);
	if (LINUX_KERNEL_VERSION > 5 && CONFIG_HIGH_HOPES)
		bpf_rcu_read_lock();
	seen += (u64)&bpf_link_fops;
	if (&runqueues)
		seen += runqueues;
	return 0;
}
