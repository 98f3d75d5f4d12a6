/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The record of one open: its layout, the memory it is built in, the filters that only opensnoop has, and how it is sent.
 *
 * In: the arguments of the call and its result, from any hook. Out: records in `events`. Which hooks there are is
 * in opensnoop.bpf.c.
 */
#ifndef OPEN_RECORD_H
#define OPEN_RECORD_H

#include "core_read.h"
#include "event.h"
#include "filter.h"
#include "helpers.h"
#include "kernel.h"

#define PATH_ROUNDS 13 /* PATH_MAX has room for 2047 components */
#include "path.h"

/* open_event.flags */
#define OPEN_NAME_FAULT 0x01 /* the name could not be read: there is none in the record */
#define OPEN_NAME_CUT 0x02 /* the name is longer than the kernel takes, and than the record holds */
#define OPEN_HOW_FAULT 0x04 /* openat2: flags, mode and resolve could not be read */
#define OPEN_BASE_IS_FILE 0x08 /* the base is the opened file itself; else the directory the name is relative to */
#define OPEN_BASE_CUT 0x10 /* the base lacks its beginning */
#define OPEN_IO_URING 0x20 /* asked for through io_uring */
#define OPEN_BASE_KNOWN 0x80 /* the base was read; without components it is the root */
#define OPEN_FIXED_FILE 0x40 /* the result is a slot of the ring's own table of files, not a descriptor */

/* Which system call it is; none of them: not known */
#define OPEN_BY_OPEN 0x100
#define OPEN_BY_OPENAT 0x200
#define OPEN_BY_OPENAT2 0x300
#define OPEN_BY_CREAT 0x400

#define KIND_OPEN 1

/*
 * 104 bytes, then data: the name as given (name_len bytes, no NUL), and the base: a path from the leaf to the root,
 * each component with its NUL (base_len bytes; 0: not asked for, not needed or not readable).
 */
struct open_event {
	struct event_header header;
	s32 ret; /* the descriptor, or -errno */
	u32 flags; /* OPEN_* */
	s32 dirfd;
	u32 open_flags; /* O_*, as the kernel takes them, see canonical() */
	u32 mode; /* 0 unless something may be created */
	u32 resolve; /* RESOLVE_* of openat2 */
	u32 name_len;
	u32 base_len;
	u8 data[];
};

_Static_assert(sizeof(struct open_event) == 104, "user space reads this layout");

EVENT_RING(struct open_event, 2 << 20);

/* Sizes of the parts of data, bytes. */
#define NAME_SIZE 4104 /* PATH_MAX, one byte to see that there are more, and up to a multiple of 8 */
#define NAME_READ 4097
#define ENAMETOOLONG 36
#define BASE_SIZE (4096 + COMPONENT_SIZE) /* PATH_MAX; a component has to have room, however long it is */

/* What the caller asked for. */
struct open_call {
	const char *name; /* in user memory */
	u64 how; /* openat2: address of the third argument, until it is read */
	s32 dirfd;
	u32 flags;
	u32 mode;
	u32 resolve;
	u32 bits; /* OPEN_* */
	u32 unused;
};

struct open_scratch {
	struct path_walk walk;
	struct open_event event;
};

/*
 * Where records are built; only what is filled is sent. Programs that may interrupt each other on a CPU (those of fexit and
 * fentry may, with preemption) have a slot each; one program the kernel never enters twice on a CPU.
 */
enum slot { SLOT_SYSCALL, SLOT_AGAIN, SLOT_IO_URING, SLOTS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct open_scratch) + NAME_SIZE + BASE_SIZE + COMPONENT_SIZE);
} scratch SEC(".maps");

ALWAYS_INLINE struct open_scratch *scratch_of(u32 slot)
{
	return bpf_map_lookup_elem(&scratch, &slot);
}

/* ---- who and what is wanted ------------------------------------------------------------------------------------- */

/* One of the flags that the user asked for: wanted if the bits under `mask` are `bits`. */
struct flag_rule {
	u32 mask;
	u32 bits;
};

#define MAX_FLAG_RULES 24
#define PREFIX_WORDS 32

const volatile bool resolve_paths = false;
const volatile bool filter_failed = false;
const volatile u32 filter_flag_count = 0;
const volatile struct flag_rule filter_flags[MAX_FLAG_RULES] = {};
/* Bytes that the comm must hold, and 0xff for each of them. */
const volatile bool filter_comm_on = false;
const volatile u64 filter_comm[2] = {};
const volatile u64 filter_comm_mask[2] = {};
/* The same for the first bytes of the name as given, without an end. */
const volatile bool filter_prefix_on = false;
const volatile u64 filter_prefix[PREFIX_WORDS] = {};
const volatile u64 filter_prefix_mask[PREFIX_WORDS] = {};
const volatile bool filter_tree = false;

/*
 * Processes of the command that opensnoop started (its first one is put there by user space), by tgid. One that finds no
 * room is counted as lost. User space sets how many there may be; without a command it needs no memory.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} tree SEC(".maps");

ALWAYS_INLINE bool tree_wanted(void)
{
	u32 tgid = (u32)(bpf_get_current_pid_tgid() >> 32);

	return !filter_tree || bpf_map_lookup_elem(&tree, &tgid);
}

ALWAYS_INLINE bool result_wanted(s32 ret)
{
	return !filter_failed || ret < 0;
}

/* A function of its own: the many ways out of the loop are two instructions for the verifier. */
VERIFIED_ALONE int flags_match(u32 flags)
{
	for (u32 i = 0; i < MAX_FLAG_RULES && i < filter_flag_count; i++) {
		if ((flags & filter_flags[i].mask) == filter_flags[i].bits)
			return 1;
	}
	return 0;
}

/* Whether the comm holds the wanted bytes somewhere: it is moved to the left byte by byte and compared as two words. */
VERIFIED_ALONE int comm_matches(void)
{
	u64 comm[2] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	for (u32 i = 0; i < COMM_SIZE; i++) {
		if ((comm[0] & filter_comm_mask[0]) == filter_comm[0] &&
		    (comm[1] & filter_comm_mask[1]) == filter_comm[1])
			return 1;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		comm[0] = comm[0] >> 8 | comm[1] << 56;
		comm[1] >>= 8;
#else
		comm[0] = comm[0] << 8 | comm[1] >> 56;
		comm[1] <<= 8;
#endif
	}
	return 0;
}

/* What follows a name in the buffer does not matter: its NUL differs from every wanted byte. */
VERIFIED_ALONE int prefix_matches(u32 slot)
{
	struct open_scratch *buffer = scratch_of(slot);

	if (!buffer || (buffer->event.flags & OPEN_NAME_FAULT))
		return 0;
	for (u32 i = 0; i < PREFIX_WORDS && filter_prefix_mask[i]; i++) {
		if ((((u64 *)buffer->event.data)[i] & filter_prefix_mask[i]) != filter_prefix[i])
			return 0;
	}
	return 1;
}

/*
 * Fills the identity; everything is asked but the result and the prefix. The cheap questions come first. Flags that are
 * still to be read are not asked about.
 */
ALWAYS_INLINE bool call_wanted(struct event_header *who, const struct open_call *call)
{
	if (!tree_wanted())
		return false;
	if (filter_flag_count && !call->how && ((call->bits & OPEN_HOW_FAULT) || !flags_match(call->flags)))
		return false;
	return wanted(who) && (!filter_comm_on || comm_matches());
}

ALWAYS_INLINE bool open_wanted(struct event_header *who, const struct open_call *call, s32 ret)
{
	return result_wanted(ret) && call_wanted(who, call);
}

/* ---- building --------------------------------------------------------------------------------------------------- */

#define O_CREAT_BIT 00000100U
#define O_WRONLY_TRUNC (00000001U | 00001000U)
#define O_CLOEXEC_BIT 02000000U
#define MODE_BITS 07777U

#if defined(__TARGET_ARCH_arm64) || defined(__TARGET_ARCH_powerpc)
#define O_DIRECTORY_BIT 00040000U
#define O_NOFOLLOW_BIT 00100000U
#define O_LARGEFILE_BIT 00400000U
#else
#define O_DIRECTORY_BIT 00200000U
#define O_NOFOLLOW_BIT 00400000U
#define O_LARGEFILE_BIT 00100000U
#endif
#define O_PATH_BIT 010000000U
#define O_TMPFILE_BIT 020000000U

/*
 * The hooks see a call before or after the kernel has tidied up its arguments. Whatever the hook, the record has them
 * tidied up, but for O_LARGEFILE, which the kernel adds to every 64-bit open: it is never there.
 */
ALWAYS_INLINE void canonical(struct open_call *call)
{
	if (call->flags & O_PATH_BIT)
		call->flags &= O_PATH_BIT | O_DIRECTORY_BIT | O_NOFOLLOW_BIT | O_CLOEXEC_BIT;
	call->flags &= ~O_LARGEFILE_BIT;
	call->mode &= MODE_BITS;
	if (!(call->flags & (O_CREAT_BIT | O_TMPFILE_BIT)))
		call->mode = 0;
}

ALWAYS_INLINE void begin_open(struct open_event *event, const struct event_header *who, const struct open_call *call,
			      s32 ret)
{
	event->header = *who;
	stamp(&event->header, KIND_OPEN);
	event->ret = ret;
	event->flags = call->bits;
	event->dirfd = call->dirfd;
	event->open_flags = call->flags;
	event->mode = call->mode;
	event->resolve = call->resolve;
	event->name_len = 0;
	event->base_len = 0;
}

/* `size` is what a reader of NAME_READ bytes came back with. */
ALWAYS_INLINE void note_name(struct open_event *event, long size)
{
	if (size < 0)
		event->flags |= OPEN_NAME_FAULT;
	if (size <= 0) /* 0: an empty string, see bpf_probe_read_user_str */
		event->data[0] = 0;
	else
		event->name_len = (u32)size - 1;
	if (size == NAME_READ)
		event->flags |= OPEN_NAME_CUT;
}

/* What the kernel found too long may end at the end of the caller's memory: then the byte too many is none that we can read. */
ALWAYS_INLINE void read_name(struct open_event *event, const char *name, s32 ret)
{
	long size = bpf_probe_read_user_str(event->data, NAME_READ, name);

	if (size < 0 && ret == -ENAMETOOLONG) {
		size = bpf_probe_read_user_str(event->data, NAME_READ - 1, name);
		event->flags |= size > 0 ? OPEN_NAME_CUT : 0;
	}
	note_name(event, size);
}

/* Where the base starts. The bound always holds; it is for the verifier. */
ALWAYS_INLINE u32 base_start(struct open_event *event)
{
	u32 start = in_memory(event->name_len);

	return start < NAME_READ ? start : NAME_READ - 1;
}

VERIFIED_ALONE int append_step(u32 slot)
{
	struct open_scratch *buffer = scratch_of(slot);
	struct open_event *event;
	const u8 *name;

	if (!buffer)
		return STEP_FAULT;
	if (!walk_up(&buffer->walk, &name))
		return STEP_END;
	event = &buffer->event;
	if (name && !append_component(event->data + base_start(event), &event->base_len, BASE_SIZE, name))
		return STEP_CUT;
	return STEP_MORE;
}

#define AT_FDCWD (-100)

/* Appends the path of the opened file or, if there is none, of what the name is relative to. */
ALWAYS_INLINE void append_base(struct open_scratch *buffer, u32 slot)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct open_event *event = &buffer->event;
	struct path *path = NULL;
	struct file *file;

	if (event->ret >= 0 && !(event->flags & OPEN_FIXED_FILE)) {
		file = file_of((u32)event->ret);
		path = file ? core_address(file, f_path) : NULL;
		event->flags |= path ? OPEN_BASE_IS_FILE : 0;
	}
	if (!path && event->data[0] == '/' && !event->resolve)
		return; /* relative to the root, which needs no path */
	if (!path && event->dirfd == AT_FDCWD)
		path = core_address(core_get(task, fs), pwd);
	if (!path && event->dirfd >= 0) {
		file = file_of((u32)event->dirfd);
		path = file ? core_address(file, f_path) : NULL;
	}
	if (!path)
		return;
	event->flags |= OPEN_BASE_KNOWN;
	walk_from(&buffer->walk, task, path);
	if (append_all(slot) != STEP_END)
		event->flags |= OPEN_BASE_CUT;
}

/* Sends what is in the buffer if its name is wanted. */
ALWAYS_INLINE void finish_open(struct open_scratch *buffer, u32 slot)
{
	struct open_event *event = &buffer->event;
	u32 size;

	if (filter_prefix_on && !prefix_matches(slot))
		return;
	if (resolve_paths)
		append_base(buffer, slot);
	size = in_memory(event->base_len);
	if (size > BASE_SIZE)
		size = BASE_SIZE;
	size += (u32)sizeof(struct open_event) + base_start(event);
	send(&events, event, size);
}

#endif
