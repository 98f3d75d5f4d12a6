/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One program for each way of attaching that can be tried anywhere; each counts, or tells its cookie. */
#include "test.h"

static u64 (*const bpf_get_attach_cookie)(void *context) = (void *)174;
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*const bpf_seq_write)(void *seq, const void *data, u32 len) = (void *)127;
static void *(*const bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static void (*const bpf_ringbuf_discard)(void *data, u64 flags) = (void *)133;

struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} ring SEC(".maps");

const volatile u32 tgid = 0;
const volatile u64 getppid_number = 0;
/* Kernels without cookies have no function to ask for them. */
extern _Bool LINUX_HAS_BPF_COOKIE KCONFIG;
u64 hits;
u64 cookie;
u64 lost;

struct seq_file;
struct task_struct;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

static NOINLINE int count(void *context)
{
	if (bpf_get_current_pid_tgid() >> 32 != tgid)
		return 0;
	__sync_fetch_and_add(&hits, 1);
	if (LINUX_HAS_BPF_COOKIE)
		cookie = bpf_get_attach_cookie(context);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getppid")
int by_tracepoint(void *context)
{
	return count(context);
}

SEC("uprobe")
int by_uprobe(void *context)
{
	return count(context);
}

/* Its binary is the test's own. */
SEC("usdt")
int by_usdt(void *context)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("uretprobe")
int by_uretprobe(void *context)
{
	return count(context);
}

SEC("uprobe.multi")
int by_uprobe_multi(void *context)
{
	return count(context);
}

SEC("uretprobe.multi")
int by_uretprobe_multi(void *context)
{
	return count(context);
}

SEC("ksyscall/getppid")
int by_kprobe(void *context)
{
	return count(context);
}

SEC("kretsyscall/getppid")
int by_kretprobe(void *context)
{
	return count(context);
}

/* Of several names for one address the kernel lists one. */
SEC("kprobe.multi/*_sys_getppi?")
int by_kprobe_multi(void *context)
{
	return count(context);
}

SEC("kretprobe.multi/*_sys_getppi?")
int by_kretprobe_multi(void *context)
{
	return count(context);
}

/* Test runs of tracing programs call these two: bpf_fentry_test1(1) is 2, bpf_fentry_test2(2, 3) is 5. */
SEC("fentry/bpf_fentry_test1")
int by_fentry(u64 *context)
{
	if ((int)context[0] == 1)
		__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("fexit/bpf_fentry_test2")
int by_fexit(u64 *context)
{
	if ((int)context[0] == 2 && context[1] == 3 && (int)context[2] == 5)
		__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("raw_tp/sys_enter")
int by_raw_tracepoint(u64 *context)
{
	if (bpf_get_current_pid_tgid() >> 32 == tgid && context[1] == getppid_number)
		__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("iter/task")
int by_iterator(struct bpf_iter__task *context)
{
	static const char line[5] = "task\n";

	if (context->task)
		bpf_seq_write(context->meta->seq, line, sizeof(line));
	return 0;
}

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

SEC("iter/bpf_map_elem")
int by_entry(struct bpf_iter__bpf_map_elem *context)
{
	const u32 *key = context->key;
	u32 copy;

	if (!key)
		return 0;
	copy = *key;
	bpf_seq_write(context->meta->seq, &copy, sizeof(copy));
	return 0;
}

SEC("raw_tp/sys_enter")
int fill(u64 *context)
{
	u32 *record;

	if (bpf_get_current_pid_tgid() >> 32 != tgid || context[1] != getppid_number)
		return 0;
	record = bpf_ringbuf_reserve(&ring, 16, 0);
	if (!record) {
		lost++;
		return 0;
	}
	*record = (u32)hits++;
	if (*record % 5 == 4)
		bpf_ringbuf_discard(record, 0);
	else
		bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("socket")
int replaced(void *context)
{
	return 1;
}

SEC("fsession")
int by_fsession(void *context)
{
	return count(context);
}

SEC("fentry.multi")
int by_fentry_multi(void *context)
{
	return count(context);
}

SEC("fexit.multi")
int by_fexit_multi(void *context)
{
	return count(context);
}

SEC("fsession.multi")
int by_fsession_multi(void *context)
{
	return count(context);
}
