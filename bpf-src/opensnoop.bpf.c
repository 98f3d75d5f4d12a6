// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * opensnoop: which files are opened, by whom, with which result.
 *
 * Hooks, of which user space takes the first set that the kernel allows
 *   fexit/do_sys_openat2      all of open, openat, openat2 and creat ends here, 32-bit callers included. Costs nothing but
 *                             in opens. Beside it fentry and fexit of io_openat2, where io_uring does the same; the
 *                             kernel forgets the name in between, so it is kept from one to the other.
 *   tracepoint syscalls:sys_exit_* of the four calls: one program, which takes the arguments from the caller's registers.
 *                             The kernel does not report 32-bit callers there: where there are such calls, the next
 *                             hook comes first.
 *   tp_btf/sys_exit           each return from a system call: what is no open is sorted out in ten instructions. The
 *                             arguments are still in the registers, so nothing is stored at the entry.
 *   tracepoint syscalls:sys_enter_* and sys_exit_* of the four calls: arguments are kept from one to the other.
 *
 * All hooks read the name when the call is over: by then the kernel has paged it in. All give the same record.
 *
 * Misses
 *   all hooks    open_by_handle_at, open_tree and other calls that are no open; files that the kernel
 *                opens within another call: programs and interpreters of execve, core dumps
 *   fexit        calls that seccomp or a tracer stops, and openat2 with arguments that the kernel
 *                refuses unread; calls under way at the start; io_uring before Linux 5.19
 *   tp_btf       io_uring; calls that never return to user space
 *   tracepoint   io_uring; 32-bit callers; with exits, calls that never return to user space; with
 *                syscalls, calls under way at the start, and those that seccomp or a tracer stops
 *   Told as lost: what happens on a processor while the programs for it are interrupted there (fexit
 *   has two, one for the other); what finds no room in the buffer; opens that find none in the
 *   --table-size (tracepoint syscalls) or among the 256 that io_uring has under way (fexit); a
 *   process of --exec that finds none there, once, with all that it opens.
 *
 * The record and the filters of opensnoop's own are in open_record.h, the filters of all tools in filter.h.
 */
#include "core_read.h"
#include "event.h"
#include "filter.h"
#include "helpers.h"
#include "kernel.h"
#include "open_record.h"
#include "syscall_regs.h"
#include "twin.h"

/* ---- which system call it is ------------------------------------------------------------------------------------ */

#ifdef HAVE_SYSCALL_REGS
ALWAYS_INLINE u32 open_of_64(u32 number)
{
	if (number == (u32)NR_OPENAT)
		return OPEN_BY_OPENAT;
	if (number == (u32)NR_OPEN)
		return OPEN_BY_OPEN;
	if (number == (u32)NR_OPENAT2)
		return OPEN_BY_OPENAT2;
	return number == (u32)NR_CREAT ? OPEN_BY_CREAT : 0;
}

ALWAYS_INLINE u32 open_of_32(u32 number)
{
	if (number == NR32_OPENAT)
		return OPEN_BY_OPENAT;
	if (number == NR32_OPEN)
		return OPEN_BY_OPEN;
	if (number == NR_OPENAT2)
		return OPEN_BY_OPENAT2;
	return number == NR32_CREAT ? OPEN_BY_CREAT : 0;
}
#endif

/* Of the current task, which is inside of it. */
ALWAYS_INLINE u32 current_open(void)
{
#ifdef HAVE_SYSCALL_REGS
	if (core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		const struct pt_regs *regs = bpf_task_pt_regs(bpf_get_current_task_btf());
		u32 number = SYSCALL_NUMBER(regs);

		return IS_32BIT() ? open_of_32(number) : open_of_64(number);
	}
#endif
	return 0;
}

/* Sends the record of a call that is over, if it is wanted. */
OUT_OF_LINE int report_call(struct open_call *call, s32 ret, bool in_call, u32 slot)
{
	struct event_header who = {};
	struct open_scratch *buffer;

	canonical(call);
	if (!open_wanted(&who, call, ret))
		return 0;
	buffer = scratch_of(slot);
	if (!buffer)
		return 0;
	if (in_call)
		call->bits |= current_open();
	begin_open(&buffer->event, &who, call, ret);
	read_name(&buffer->event, call->name, ret);
	finish_open(buffer, slot);
	return 0;
}

ALWAYS_INLINE void read_how(struct open_call *call, const void *how)
{
	u64 words[3] = {};

	/* The size argument may be larger for newer kernels, never smaller. */
	if (bpf_probe_read_user(words, sizeof(words), how))
		call->bits |= OPEN_HOW_FAULT;
	call->how = 0;
	call->flags = (u32)words[0];
	call->mode = (u32)words[1];
	call->resolve = (u32)words[2];
}

/* ---- fexit ------------------------------------------------------------------------------------------------------ */

ALWAYS_INLINE void report_openat2(const u64 *ctx, u32 slot)
{
	/* arguments: directory, name, how; then the result */
	const struct open_how *how = (const struct open_how *)ctx[2];
	struct open_call call;

	if (!ids_wanted())
		return;
	call = (struct open_call){
		.name = (const char *)ctx[1],
		.dirfd = (s32)ctx[0],
		.flags = (u32)how->flags,
		.mode = (u32)how->mode,
		.resolve = (u32)how->resolve,
	};

	report_call(&call, (s32)ctx[3], true, slot);
}

TWINS("fexit/do_sys_openat2", exit_openat2, PAIR_MAIN, report_openat2(ctx, SLOT_SYSCALL),
      report_openat2(ctx, SLOT_AGAIN))

/* ---- io_uring --------------------------------------------------------------------------------------------------- */

/* An open of io_uring between entry and exit of the function that does it. */
struct ring_open {
	struct open_call call;
	s32 size; /* what reading the name came back with */
	u8 name[NAME_READ];
};

/*
 * By pid_tgid of the thread that does it. The exit takes the entry out; a full table is counted as lost. Memory is
 * taken when it is needed (both programs run where that is allowed), as entries are large and rare.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct ring_open);
} ring_opens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ring_open);
} ring_scratch SEC(".maps");

ALWAYS_INLINE struct filename *filename_of(struct io_open *open)
{
	struct io_open___delayed *delayed = (struct io_open___delayed *)open;

	if (core_field_exists(struct io_open___delayed, filename.__incomplete_filename))
		return core_get(delayed, filename.__incomplete_filename);
	return core_get(open, filename);
}

SEC("fentry/io_openat2")
int ring_enter(const u64 *ctx)
{
	struct io_open *open = (struct io_open *)ctx[0];
	u64 caller = bpf_get_current_pid_tgid();
	struct ring_open *saved;
	struct event_header who = {};
	u32 index = 0;

	if (!tree_wanted() || !wanted(&who))
		return 0;
	saved = bpf_map_lookup_elem(&ring_scratch, &index);
	if (!saved)
		return 0;
	saved->call.name = NULL;
	saved->call.dirfd = core_get(open, dfd);
	saved->call.flags = (u32)core_get(open, how.flags);
	saved->call.mode = (u32)core_get(open, how.mode);
	saved->call.resolve = (u32)core_get(open, how.resolve);
	saved->call.how = 0;
	saved->call.bits = OPEN_IO_URING | (core_get(open, file_slot) ? OPEN_FIXED_FILE : 0);
	canonical(&saved->call);
	saved->size = (s32)bpf_probe_read_kernel_str(saved->name, NAME_READ, core_get(filename_of(open), name));
	if (bpf_map_update_elem(&ring_opens, &caller, saved, BPF_ANY))
		count_untracked();
	return 0;
}

#define EAGAIN 11

ALWAYS_INLINE void report_ring(struct ring_open *open, s32 ret)
{
	struct event_header who = {};
	struct open_scratch *buffer;

	if (!open_wanted(&who, &open->call, ret))
		return;
	buffer = scratch_of(SLOT_IO_URING);
	if (!buffer)
		return;
	begin_open(&buffer->event, &who, &open->call, ret);
	bpf_probe_read_kernel(buffer->event.data, NAME_READ, open->name);
	note_name(&buffer->event, open->size);
	finish_open(buffer, SLOT_IO_URING);
}

SEC("fexit/io_openat2")
int ring_exit(const u64 *ctx)
{
	/* arguments: the request, how to issue it; then "try again where you may sleep", or done */
	struct io_kiocb *request = (struct io_kiocb *)ctx[0];
	u64 caller = bpf_get_current_pid_tgid();
	struct ring_open *open = bpf_map_lookup_elem(&ring_opens, &caller);

	if (!open)
		return 0;
	if ((s32)ctx[2] != -EAGAIN)
		report_ring(open, core_get(request, cqe.res));
	bpf_map_delete_elem(&ring_opens, &caller);
	return 0;
}

/* ---- returns from system calls ---------------------------------------------------------------------------------- */

#ifdef HAVE_SYSCALL_REGS
/* The first arguments of a call. */
struct arguments {
	u64 first;
	u64 second;
	u64 third;
	u64 fourth;
};

ALWAYS_INLINE struct arguments arguments_64(const struct pt_regs *regs)
{
	return (struct arguments){ARGUMENT_0(regs), ARGUMENT_1(regs), ARGUMENT_2(regs), ARGUMENT_3(regs)};
}

ALWAYS_INLINE struct arguments arguments_32(const struct pt_regs *regs)
{
	return (struct arguments){(u32)ARGUMENT_0_32(regs), (u32)ARGUMENT_1_32(regs), (u32)ARGUMENT_2_32(regs),
				  (u32)ARGUMENT_3_32(regs)};
}

/* `syscall` is one of OPEN_BY_*. */
ALWAYS_INLINE int report_arguments(const struct arguments *from, u32 syscall, s32 ret)
{
	struct open_call call = {.dirfd = AT_FDCWD, .bits = syscall};

	if (syscall == OPEN_BY_OPENAT || syscall == OPEN_BY_OPENAT2) {
		call.dirfd = (s32)from->first;
		call.name = (const char *)from->second;
		call.flags = (u32)from->third;
		call.mode = (u32)from->fourth;
		if (syscall == OPEN_BY_OPENAT2)
			read_how(&call, (const void *)from->third);
	} else {
		bool creat = syscall == OPEN_BY_CREAT;

		call.name = (const char *)from->first;
		call.flags = creat ? O_CREAT_BIT | O_WRONLY_TRUNC : (u32)from->second;
		call.mode = (u32)(creat ? from->second : from->third);
	}
	return report_call(&call, ret, false, SLOT_SYSCALL);
}

SEC("tp_btf/sys_exit")
int exit_syscall(const u64 *ctx)
{
	const struct pt_regs *regs = (const struct pt_regs *)ctx[0];
	u32 number = SYSCALL_NUMBER(regs);
	struct arguments arguments;
	u32 syscall;

	if ((!open_of_64(number) && !open_of_32(number)) || !ids_wanted())
		return 0;
	if (IS_32BIT()) {
		syscall = open_of_32(number);
		arguments = arguments_32(regs);
	} else {
		syscall = open_of_64(number);
		arguments = arguments_64(regs);
	}
	return syscall ? report_arguments(&arguments, syscall, (s32)ctx[1]) : 0;
}

/* The number of the call. The event has a long in its place; programs are handed an int there and nothing behind it. */
ALWAYS_INLINE u32 exit_number(const struct trace_event_raw_sys_exit *ctx)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (u32)ctx->id;
#else
	return (u32)((u64)ctx->id >> 32);
#endif
}

/* Also on the exits of open, openat2 and creat: the number says which it is. 5.15+, which has the registers of a task. */
SEC("?tracepoint/syscalls/sys_exit_openat")
int exit_open(const struct trace_event_raw_sys_exit *ctx)
{
	u32 syscall = open_of_64(exit_number(ctx));
	struct arguments arguments;

	if (!syscall || !ids_wanted())
		return 0;
	arguments = arguments_64(bpf_task_pt_regs(bpf_get_current_task_btf()));
	return report_arguments(&arguments, syscall, (s32)ctx->ret);
}
#endif

/* ---- tracepoints of the system calls ---------------------------------------------------------------------------- */

/*
 * Calls between entry and exit, by pid_tgid of the caller. The exit takes the entry out; one that is left behind by
 * detaching between the two is overwritten by the thread's next call. The loader sets how many there may be.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct open_call);
} calls SEC(".maps");

/* What is not wanted for sure is not stored: then it costs what asking costs, and one lookup at the exit. */
ALWAYS_INLINE int enter_call(struct open_call *call)
{
	u64 caller = bpf_get_current_pid_tgid();
	struct event_header who = {};

	canonical(call);
	if (ids_wanted() && call_wanted(&who, call) && bpf_map_update_elem(&calls, &caller, call, BPF_ANY))
		count_untracked();
	return 0;
}

ALWAYS_INLINE int exit_call(const struct trace_event_raw_sys_exit *ctx, bool has_how)
{
	u64 caller = bpf_get_current_pid_tgid();
	struct open_call *found;
	struct open_call call;

	if (!ids_wanted())
		return 0;
	found = bpf_map_lookup_elem(&calls, &caller);
	if (!found)
		return 0;
	call = *found; /* the element may be used again once it is deleted */
	bpf_map_delete_elem(&calls, &caller);
	if (has_how)
		read_how(&call, (const void *)(u64)call.how);
	return report_call(&call, (s32)ctx->ret, false, SLOT_SYSCALL);
}

SEC("?tracepoint/syscalls/sys_enter_open")
int enter_open(const struct trace_event_raw_sys_enter *ctx)
{
	struct open_call call = {
		.name = (const char *)ctx->args[0],
		.dirfd = AT_FDCWD,
		.flags = (u32)ctx->args[1],
		.mode = (u32)ctx->args[2],
		.bits = OPEN_BY_OPEN,
	};

	return enter_call(&call);
}

SEC("?tracepoint/syscalls/sys_enter_creat")
int enter_creat(const struct trace_event_raw_sys_enter *ctx)
{
	struct open_call call = {
		.name = (const char *)ctx->args[0],
		.dirfd = AT_FDCWD,
		.flags = O_CREAT_BIT | O_WRONLY_TRUNC,
		.mode = (u32)ctx->args[1],
		.bits = OPEN_BY_CREAT,
	};

	return enter_call(&call);
}

SEC("?tracepoint/syscalls/sys_enter_openat")
int enter_openat(const struct trace_event_raw_sys_enter *ctx)
{
	struct open_call call = {
		.name = (const char *)ctx->args[1],
		.dirfd = (s32)ctx->args[0],
		.flags = (u32)ctx->args[2],
		.mode = (u32)ctx->args[3],
		.bits = OPEN_BY_OPENAT,
	};

	return enter_call(&call);
}

SEC("?tracepoint/syscalls/sys_enter_openat2")
int enter_openat2(const struct trace_event_raw_sys_enter *ctx)
{
	struct open_call call = {
		.name = (const char *)ctx->args[1],
		.dirfd = (s32)ctx->args[0],
		.how = ctx->args[2],
		.bits = OPEN_BY_OPENAT2,
	};

	return enter_call(&call);
}

SEC("?tracepoint/syscalls/sys_exit_open")
int leave_open(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_call(ctx, false);
}

SEC("?tracepoint/syscalls/sys_exit_creat")
int leave_creat(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_call(ctx, false);
}

SEC("?tracepoint/syscalls/sys_exit_openat")
int leave_openat(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_call(ctx, false);
}

SEC("?tracepoint/syscalls/sys_exit_openat2")
int leave_openat2(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_call(ctx, true);
}

/* ---- the processes of a command --------------------------------------------------------------------------------- */

SEC("tp_btf/sched_process_fork")
int tree_fork(const u64 *ctx)
{
	u32 parent = (u32)core_get((struct task_struct *)ctx[0], tgid);
	u32 child = (u32)core_get((struct task_struct *)ctx[1], tgid);
	u32 yes = 1;

	if (child == parent || !bpf_map_lookup_elem(&tree, &parent))
		return 0;
	if (bpf_map_update_elem(&tree, &child, &yes, BPF_ANY))
		count_untracked();
	return 0;
}

SEC("tp_btf/sched_process_exit")
int tree_exit(const u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	u32 tgid = (u32)core_get(task, tgid);

	/* The last thread takes the process out; it has been subtracted already. */
	if (core_get(core_get(task, signal), live.counter) == 0)
		bpf_map_delete_elem(&tree, &tgid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
