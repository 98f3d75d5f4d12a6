/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What two loaders must make the same of: every kind of reference but callbacks, and CO-RE of every kind that clang 14 emits. */
#include "test.h"

static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const bpf_get_current_task)(void) = (void *)35;
static u64 (*const bpf_ringbuf_query)(void *ring, u64 flags) = (void *)134;
static long (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;

struct {
	__uint(type, 1);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} seen SEC(".maps");

struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} ring SEC(".maps");

const volatile u32 limit = 3;
u64 total;
static volatile u32 calls;
extern int LINUX_KERNEL_VERSION KCONFIG;

enum pid_type___local {
	PIDTYPE_PID___local,
	PIDTYPE_NEVER___local,
};

struct task_struct {
	int pid;
	int tgid;
	struct task_struct *real_parent;
	unsigned in_execve : 1;
	char comm[16];
	int never_had_this;
} __attribute__((preserve_access_index));

static NOINLINE u64 add(u64 value)
{
	calls++;
	return value + limit;
}

SEC("tp_btf/sched_process_exec")
int typed(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	u32 key = task->pid;
	u64 value = task->real_parent->tgid;

	bpf_map_update_elem(&seen, &key, &value, 0);
	if (__builtin_preserve_field_info(task->never_had_this, 2))
		total += task->never_had_this;
	total += task->comm[3];
	return 0;
}

SEC("raw_tp/sched_process_exit")
int raw(void *context)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	int tgid = 0;

	bpf_probe_read_kernel(&tgid, sizeof(tgid), &task->tgid);
	total += tgid;
	total += __builtin_preserve_enum_value(*(enum pid_type___local *)PIDTYPE_PID___local, 0);
	total += __builtin_preserve_enum_value(*(enum pid_type___local *)PIDTYPE_NEVER___local, 0);
	total += __builtin_preserve_type_info(*(struct task_struct *)0, 1);
	total += __builtin_preserve_field_info(task->comm, 1);
	total += __builtin_preserve_field_info(task->in_execve, 4);
	total += __builtin_preserve_field_info(task->in_execve, 5);
	return 0;
}

SEC("socket")
int packets(void *context)
{
	if (LINUX_KERNEL_VERSION > (5 << 16))
		total += bpf_ringbuf_query(&ring, 0);
	return (int)add(1);
}
