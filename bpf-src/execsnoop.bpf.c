// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * execsnoop: which programs are executed, with which arguments, and which executions fail.
 *
 * Hooks
 *   tp_btf/sched_process_exec        each success: execve, execveat, 32-bit callers, any thread, kernel helpers. It runs
 *                                    after the point of no return, so filename and interpreter come from the kernel and
 *                                    the arguments from the new mm, where they have just been written.
 *   tracepoint syscalls:sys_enter_*  and sys_exit_* of execve and execveat: failures, loaded only when asked for (-x),
 *                                    because they slow every system call on the host a little. Success is never
 *                                    concluded from them: seccomp may change the return value, and a thread that is not
 *                                    the leader returns under another pid than it entered with.
 *
 * Misses
 *   exec          nothing
 *   failed exec   32-bit callers; calls under way at the start, and those that seccomp or a tracer
 *                 stops; arguments that were not in memory, which are marked as unreadable
 *   Told as lost: what happens on a processor while the programs for it are interrupted there (exec
 *   has two, one for the other); what finds no room in the buffer or in the --table-size.
 *
 * The record is in exec_record.h, who gets one in filter.h.
 */
#include "core_read.h"
#include "event.h"
#include "exec_record.h"
#include "filter.h"
#include "helpers.h"
#include "kernel.h"
#include "twin.h"

/*
 * Calls between entry and exit, by pid_tgid of the caller. The exit or the success takes the entry out; one that is
 * left behind by detaching between the two is overwritten by the thread's next call. User space sets how many there may be;
 * where failures are not asked for, it needs no memory.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct exec_call);
} calls SEC(".maps");

const volatile bool fails_seen = false; /* the entries of calls are seen, too */

/* ---- success ---------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void read_filename(struct exec_event *event, struct linux_binprm *bprm)
{
	const char *filename = core_get(bprm, filename);
	long size = bpf_probe_read_kernel_str(event->data, FILENAME_SIZE, filename);

	if (size > 0)
		event->filename_len = (u32)size - 1;
	else
		event->flags |= EXEC_FILENAME_FAULT;
	if (core_get(bprm, interp) != filename)
		event->flags |= EXEC_INTERPRETED;
	/* fdpath: 5.9 */
	if (core_field_exists(struct linux_binprm, fdpath) && core_get(bprm, fdpath))
		event->flags |= EXEC_BY_FD | EXEC_EXECVEAT;
}

#define PAGE_ROUNDS 9 /* squared: at least 65, so that 256 KiB of budget can be read page by page from any start */

/* One read of at most a page of `size` bytes of arguments: the page after those that args_len counts. */
VERIFIED_ALONE int read_page(u32 slot, u32 size)
{
	struct exec_scratch *buffer = this_cpu_scratch(slot);
	u32 start, done, chunk;
	u64 from;

	if (!buffer)
		return STEP_FAULT;
	start = args_start(buffer);
	done = in_memory(buffer->event.args_len);
	if (done >= size || done > args_budget)
		return STEP_END;
	from = buffer->args_from + done;
	chunk = CHUNK - ((u32)from & (CHUNK - 1));
	if (chunk > size - done)
		chunk = size - done;
	forget_range(chunk);
	if (chunk > CHUNK)
		return STEP_FAULT;
	if (bpf_probe_read_user(buffer->event.data + start + done, chunk, (const void *)from))
		return STEP_FAULT;
	buffer->event.args_len = done + chunk;
	return STEP_MORE;
}

VERIFIED_ALONE int read_some_pages(u32 slot, u32 size)
{
	return repeat_step(PAGE_ROUNDS, read_page(slot, size));
}

VERIFIED_ALONE int read_pages(u32 slot, u32 size)
{
	return repeat_step(PAGE_ROUNDS, read_some_pages(slot, size));
}

#define NO_DIGIT 10
#define NO_MORE_DIGITS 11

/* The digit at this place of the filename, if it is one. */
VERIFIED_ALONE int digit_in_filename(u32 slot, u32 place)
{
	struct exec_scratch *buffer = this_cpu_scratch(slot);
	u32 digit;

	if (!buffer || place >= FD_PREFIX_LEN + FD_DIGITS)
		return NO_DIGIT;
	if (place >= buffer->event.filename_len)
		return NO_MORE_DIGITS;
	digit = (u32)buffer->event.data[place] - '0';
	return digit > 9 ? NO_DIGIT : (int)digit;
}

/* N of a filename "/dev/fd/N"; negative if there is more, or less. */
VERIFIED_ALONE int fd_in_filename(u32 slot)
{
	u32 fd = 0;
	u32 digit = 0;
	u32 digits = 0;

	for (; digits < FD_DIGITS; digits++) {
		digit = (u32)digit_in_filename(slot, FD_PREFIX_LEN + digits);
		if (digit >= NO_DIGIT)
			break;
		fd = fd * 10 + digit;
	}
	return digits && digit != NO_DIGIT ? (int)fd : -1;
}

/*
 * The executable is what the mm runs; but the interpreter of a script that was given as a file descriptor says nothing
 * about which script it is: then the script is shown, if the descriptor is all there was.
 */
ALWAYS_INLINE struct file *shown_exe(struct exec_event *event, struct mm_struct *mm, u32 slot)
{
	int fd;

	if ((event->flags & (EXEC_BY_FD | EXEC_INTERPRETED)) != (EXEC_BY_FD | EXEC_INTERPRETED))
		return core_get(mm, exe_file);
	fd = fd_in_filename(slot);
	return fd < 0 ? NULL : file_of((u32)fd);
}

/* In one go, as the pages are all there; else page by page up to the first that is not. */
VERIFIED_ALONE int read_area(u32 slot, u32 size)
{
	struct exec_scratch *buffer = this_cpu_scratch(slot);

	if (!buffer)
		return STEP_FAULT;
	forget_range(size);
	if (size > args_budget)
		size = args_budget;
	if (bpf_probe_read_user(buffer->event.data + args_start(buffer), size, (const void *)buffer->args_from))
		return read_pages(slot, size);
	buffer->event.args_len = size;
	return STEP_END;
}

ALWAYS_INLINE void read_args(struct exec_scratch *buffer, struct mm_struct *mm)
{
	struct exec_event *event = &buffer->event;
	u64 from = core_get(mm, arg_start);
	u64 to = core_get(mm, arg_end);
	u64 total = to > from ? to - from : 0;
	u32 size = total < args_budget ? (u32)total : args_budget;

	event->args_total = total;
	begin_args(buffer, from);
	read_area(buffer->slot, size);
	if (event->args_len < size)
		event->flags |= EXEC_ARGS_FAULT;
	else if (size < total)
		event->flags |= EXEC_ARGS_CUT;
}

OUT_OF_LINE void report_exec(const u64 *ctx, u32 slot)
{
	/* arguments: the task, its pid before a thread took the leader's, the binary */
	u32 old_pid = (u32)ctx[1];
	struct linux_binprm *bprm = (struct linux_binprm *)ctx[2];
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct event_header who = {};
	struct exec_scratch *buffer;
	struct mm_struct *mm;

	if (fails_seen) {
		u64 caller = (bpf_get_current_pid_tgid() & ~0xffffffffULL) | old_pid;

		bpf_map_delete_elem(&calls, &caller);
	}
	if (!ids_wanted() || !wanted(&who))
		return;
	buffer = take_scratch(slot);
	if (!buffer)
		return;
	begin_record(&buffer->event, &who);
	read_filename(&buffer->event, bprm);
	mm = core_get(task, mm);
	append_exe(buffer, shown_exe(&buffer->event, mm, slot));
	buffer->event.argc = (u32)core_get(bprm, argc);
	read_args(buffer, mm);
	finish_record(buffer);
}

TWINS("tp_btf/sched_process_exec", process_exec, PAIR_MAIN, report_exec(ctx, 0), report_exec(ctx, 1))

/* ---- failures --------------------------------------------------------------------------------------------------- */

#define FAIL_ROUNDS 16 /* cubed: pieces of arguments, each at most a page */

ALWAYS_INLINE int enter_exec(struct exec_call *call)
{
	struct event_header who = {};
	u64 caller = bpf_get_current_pid_tgid();

	if (wanted(&who) && bpf_map_update_elem(&calls, &caller, call, BPF_ANY))
		count_untracked();
	return 0;
}

/* Writes "/dev/fd/N" to data, as the kernel would have named the file; the length. */
VERIFIED_ALONE int name_fd(u32 fd)
{
	struct exec_scratch *buffer = this_cpu_scratch(0);
	u32 divisor = 1000000000;
	u32 length = FD_PREFIX_LEN;

	if (!buffer)
		return 0;
	__builtin_memcpy(buffer->event.data, "/dev/fd/", FD_PREFIX_LEN);
	for (u32 i = 0; i < FD_DIGITS; i++) {
		u32 digit = fd / divisor % 10;

		divisor /= 10;
		if (digit == 0 && length == FD_PREFIX_LEN && i < FD_DIGITS - 1)
			continue;
		forget_range(length);
		if (length >= FD_PREFIX_LEN + FD_DIGITS)
			break;
		buffer->event.data[length++] = (u8)('0' + digit);
	}
	return (int)length;
}

/* The filename the caller gave, with the kernel's /dev/fd/N before it where the kernel would put it. */
ALWAYS_INLINE void read_user_filename(struct exec_scratch *buffer, const struct exec_call *call)
{
	struct exec_event *event = &buffer->event;
	u32 length = 0;
	u8 first = 0;
	long size;

	if (bpf_probe_read_user(&first, 1, call->filename)) {
		event->flags |= EXEC_FILENAME_FAULT;
		return;
	}
	if (call->execveat && call->dirfd >= 0 && first != '/') {
		event->flags |= EXEC_BY_FD;
		length = (u32)name_fd((u32)call->dirfd);
		if (length > FD_PREFIX_LEN + FD_DIGITS)
			return;
		if (first)
			event->data[length++] = '/';
	}
	forget_range(length);
	if (length > FILENAME_SIZE - 4096)
		return;
	size = bpf_probe_read_user_str(event->data + length, 4096, call->filename);
	if (size < 0)
		event->flags |= EXEC_FILENAME_FAULT;
	else
		event->filename_len = size ? length + (u32)size - 1 : length;
	if (event->flags & EXEC_BY_FD && !first)
		append_exe(buffer, file_of((u32)call->dirfd));
}

/* Reads the next piece of the argument at args_from, which is 0 between two arguments. */
ALWAYS_INLINE enum step read_arg_piece(struct exec_scratch *buffer)
{
	struct exec_event *event = &buffer->event;
	u32 start = args_start(buffer);
	u32 done = in_memory(event->args_len);
	u64 from = buffer->args_from;
	long size;

	if (!from && bpf_probe_read_user(&from, sizeof(from), buffer->call.argv + event->argc))
		return STEP_FAULT;
	if (!from)
		return STEP_END;
	if (done >= args_budget)
		return STEP_CUT;
	size = bpf_probe_read_user_str(event->data + start + done, CHUNK, (const void *)from);
	if (size < 0)
		return STEP_FAULT;
	if (size == 0) { /* an empty string: see bpf_probe_read_user_str */
		event->data[start + done] = 0;
		size = 1;
	}
	if (size == CHUNK) { /* perhaps longer: go on where the NUL was put */
		event->args_len = done + CHUNK - 1;
		buffer->args_from = from + CHUNK - 1;
	} else {
		event->args_len = done + (u32)size;
		event->argc++;
		buffer->args_from = 0;
	}
	return STEP_MORE;
}

VERIFIED_ALONE int read_arg(void)
{
	struct exec_scratch *buffer = this_cpu_scratch(0);

	return buffer ? (int)read_arg_piece(buffer) : STEP_FAULT;
}

VERIFIED_ALONE int read_few_args(void)
{
	return repeat_step(FAIL_ROUNDS, read_arg());
}

VERIFIED_ALONE int read_some_args(void)
{
	return repeat_step(FAIL_ROUNDS, read_few_args());
}

VERIFIED_ALONE int read_all_args(void)
{
	return repeat_step(FAIL_ROUNDS, read_some_args());
}

ALWAYS_INLINE void read_user_args(struct exec_scratch *buffer)
{
	struct exec_event *event = &buffer->event;
	int step;

	begin_args(buffer, 0);
	if (!buffer->call.argv)
		return; /* the kernel takes it for an empty list */
	step = read_all_args();
	if (event->args_len > args_budget) {
		event->args_len = args_budget;
		step = STEP_CUT;
	}
	if (step == STEP_END) {
		event->args_total = event->args_len;
		return;
	}
	event->flags |= step == STEP_FAULT ? EXEC_ARGS_FAULT : EXEC_ARGS_CUT;
	event->argc = 0;
}

ALWAYS_INLINE int exit_exec(long ret)
{
	u64 caller = bpf_get_current_pid_tgid();
	struct exec_call *found = bpf_map_lookup_elem(&calls, &caller);
	struct event_header who = {};
	struct exec_scratch *buffer;
	struct exec_call call;

	if (!found)
		return 0;
	call = *found; /* the element may be used again once it is deleted */
	bpf_map_delete_elem(&calls, &caller);
	/* Asked again: the set may have changed, and the identity is needed. */
	if (ret >= 0 || !wanted(&who))
		return 0;
	buffer = take_scratch(0);
	if (!buffer)
		return 0;
	begin_record(&buffer->event, &who);
	buffer->event.ret = (s32)ret;
	if (call.execveat)
		buffer->event.flags |= EXEC_EXECVEAT;
	buffer->call = call;
	read_user_filename(buffer, &call);
	read_user_args(buffer);
	finish_record(buffer);
	return 0;
}

SEC("?tracepoint/syscalls/sys_enter_execve")
int enter_execve(const struct trace_event_raw_sys_enter *ctx)
{
	struct exec_call call = {
		.filename = (const char *)ctx->args[0],
		.argv = (const char *const *)ctx->args[1],
	};

	return enter_exec(&call);
}

SEC("?tracepoint/syscalls/sys_enter_execveat")
int enter_execveat(const struct trace_event_raw_sys_enter *ctx)
{
	struct exec_call call = {
		.filename = (const char *)ctx->args[1],
		.argv = (const char *const *)ctx->args[2],
		.dirfd = (s32)ctx->args[0],
		.execveat = true,
	};

	return enter_exec(&call);
}

SEC("?tracepoint/syscalls/sys_exit_execve")
int exit_execve(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_exec(ctx->ret);
}

SEC("?tracepoint/syscalls/sys_exit_execveat")
int exit_execveat(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_exec(ctx->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
