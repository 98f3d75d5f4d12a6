/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The record of one exec: its layout, the memory it is built in, the parts that both hooks fill the same way, and how it
 * is sent.
 *
 * In: a filtered header, the executable's struct file. Out: records in `events`. What the hooks know and where arguments
 * come from is in execsnoop.bpf.c.
 */
#ifndef EXEC_RECORD_H
#define EXEC_RECORD_H

#include "core_read.h"
#include "event.h"
#include "helpers.h"
#include "kernel.h"
#include "path.h"

/* exec_event.flags */
#define EXEC_ARGS_CUT 0x01 /* the record holds fewer bytes of arguments than there are */
#define EXEC_ARGS_FAULT 0x02 /* where the record's arguments end, memory could not be read: there may be more */
#define EXEC_INTERPRETED 0x04 /* an interpreter runs the file that was asked for: a #! script, binfmt_misc */
#define EXEC_BY_FD 0x08 /* the filename is the kernel's /dev/fd/N or /dev/fd/N/PATH */
#define EXEC_EXE_CUT 0x10 /* the executable's path lacks its beginning */
#define EXEC_EXECVEAT 0x20 /* known to be execveat; a success tells only when it is EXEC_BY_FD too */
#define EXEC_FILENAME_FAULT 0x40 /* the filename could not be read */

#define KIND_EXEC 1

/*
 * 120 bytes, then data: the filename (filename_len bytes, no NUL), the executable's path from the leaf to the root (each
 * component with its NUL, exe_len bytes), the arguments from argv[0] on (each with its NUL, args_len bytes; the last one
 * without when it was cut).
 */
struct exec_event {
	struct event_header header;
	s32 ret; /* 0, or -errno */
	u32 flags;
	u32 filename_len;
	u32 exe_len; /* 0: not read. Failures: only that of a file descriptor. EXEC_BY_FD and EXEC_INTERPRETED: the script */
	u32 args_len; /* bytes present */
	u32 argc; /* as the kernel counts; 0 unknown (or really none) */
	u64 args_total; /* bytes of the whole argument area; 0 unknown (a failure whose arguments were cut) */
	u8 pcomm[COMM_SIZE]; /* the parent's comm */
	u8 data[];
};

_Static_assert(sizeof(struct exec_event) == 120, "user space reads this layout");

EVENT_RING(struct exec_event, 512 << 10);

/* Sizes of the parts of data, bytes. */
#define FILENAME_SIZE (4096 + 32) /* PATH_MAX, with a /dev/fd/N/ before it */
#define EXE_SIZE 4096
#define DEFAULT_ARGS_BUDGET (32 << 10)
#define FD_PREFIX_LEN 8 /* "/dev/fd/" */
#define FD_DIGITS 10
#define CHUNK 4096 /* one read of argument memory; no page is smaller */

/* Bytes of arguments in one record, at most; up to 256 KiB. Who changes it changes scratch's value size as much. */
const volatile u32 args_budget = DEFAULT_ARGS_BUDGET;

/* The arguments of a system call, between its entry and its exit. */
struct exec_call {
	const char *filename; /* in user memory */
	const char *const *argv;
	s32 dirfd;
	u32 execveat;
};

struct exec_scratch {
	u32 busy;
	u32 slot; /* its own */
	u32 args_at; /* where in data the arguments start, once filename and path are there */
	u64 args_from; /* user address of what is to be read next */
	struct path_walk walk;
	struct exec_call call;
	struct exec_event event;
};

/*
 * Where records are built: two big values for each possible CPU (the loader sets max_entries), of which only what is filled
 * is sent: most records are 200 bytes, some 100 KiB. Not a per-CPU map, because those stop at 32 KiB per value.
 *
 * Nobody else writes to a value meanwhile: no interrupt executes programs, and a tracepoint program that is preempted (7.0)
 * stays on its CPU, where the kernel does not enter it again. The program of twin.h that may run then has the second value;
 * `busy` keeps the other programs of this file out of the first.
 *
 * The last CHUNK is never sent: it lets the verifier see that a read of a chunk at any offset stays inside.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct exec_scratch) + FILENAME_SIZE + EXE_SIZE + DEFAULT_ARGS_BUDGET + CHUNK);
} scratch SEC(".maps");

ALWAYS_INLINE struct exec_scratch *this_cpu_scratch(u32 slot)
{
	u32 index = bpf_get_smp_processor_id() * 2 + (slot & 1);

	return bpf_map_lookup_elem(&scratch, &index);
}

/* NULL, and one more lost, if there is none to be had. */
ALWAYS_INLINE struct exec_scratch *take_scratch(u32 slot)
{
	struct exec_scratch *buffer = this_cpu_scratch(slot);

	if (!buffer || buffer->busy) {
		count_lost();
		return NULL;
	}
	buffer->busy = 1;
	buffer->slot = slot;
	return buffer;
}

ALWAYS_INLINE void begin_record(struct exec_event *event, const struct event_header *who)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	event->header = *who;
	stamp(&event->header, KIND_EXEC);
	event->ret = 0;
	event->flags = 0;
	event->filename_len = 0;
	event->exe_len = 0;
	event->args_len = 0;
	event->argc = 0;
	event->args_total = 0;
	core_read_into(event->pcomm, core_get(task, real_parent), comm);
}

/* Where the next part of data starts. The bounds always hold; they are for the verifier. */
ALWAYS_INLINE u32 exe_start(struct exec_event *event)
{
	u32 start = in_memory(event->filename_len);

	return start < FILENAME_SIZE ? start : FILENAME_SIZE;
}

ALWAYS_INLINE u32 args_start(struct exec_scratch *buffer)
{
	u32 start = in_memory(buffer->args_at);

	return start < FILENAME_SIZE + EXE_SIZE ? start : FILENAME_SIZE + EXE_SIZE;
}

/* One step of the walk from the executable to the root. */
VERIFIED_ALONE int append_step(u32 slot)
{
	struct exec_scratch *buffer = this_cpu_scratch(slot);
	struct exec_event *event;
	const u8 *name;

	if (!buffer)
		return STEP_FAULT;
	if (!walk_up(&buffer->walk, &name))
		return STEP_END;
	event = &buffer->event;
	if (name && !append_component(event->data + exe_start(event), &event->exe_len, EXE_SIZE, name))
		return STEP_CUT;
	return STEP_MORE;
}

/* Appends the path of a file. */
ALWAYS_INLINE void append_exe(struct exec_scratch *buffer, struct file *file)
{
	walk_from(&buffer->walk, (struct task_struct *)bpf_get_current_task(), core_address(file, f_path));
	if (append_all(buffer->slot) != STEP_END)
		buffer->event.flags |= EXEC_EXE_CUT;
}

/* Call it when filename and path are there. */
ALWAYS_INLINE void begin_args(struct exec_scratch *buffer, u64 from)
{
	buffer->args_at = buffer->event.filename_len + buffer->event.exe_len;
	buffer->args_from = from;
}

/* Sends what is in the buffer with at most `args` bytes of arguments; 0 if it finds no room. */
VERIFIED_ALONE int try_send_exec(u32 slot, u32 args)
{
	struct exec_scratch *buffer = this_cpu_scratch(slot);
	u32 size;

	if (!buffer)
		return 0;
	forget_range(args);
	if (args > args_budget)
		args = args_budget;
	size = (u32)sizeof(struct exec_event) + args_start(buffer) + args;
	return try_send(&events, &buffer->event, size);
}

#define SHORT_ARGS 512 /* bytes of arguments that a record keeps when the whole does not fit */

/* A record that finds no room is tried once more with few arguments: the row with a mark is better than none. */
ALWAYS_INLINE void finish_record(struct exec_scratch *buffer)
{
	u32 args = buffer->event.args_len;
	int sent = try_send_exec(buffer->slot, args);

	if (!sent && args > SHORT_ARGS) {
		buffer->event.args_len = SHORT_ARGS;
		buffer->event.flags |= EXEC_ARGS_CUT;
		sent = try_send_exec(buffer->slot, SHORT_ARGS);
	}
	if (!sent)
		count_lost();
	buffer->busy = 0;
}

#endif
