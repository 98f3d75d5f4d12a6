/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every record starts with, and how a record leaves the kernel.
 *
 * In: the current task. Out: records in the ring buffer `events`, and in `lost` how many did not get there.
 * Each program file defines its own `struct <tool>_event`, which begins with the header, and the ring buffer itself:
 * its value type names that struct, so that the layout is in the object's BTF, where user space compares it with its own.
 * Who is worth a record is decided in filter.h.
 */
#ifndef EVENT_H
#define EVENT_H

#include "helpers.h"

#define COMM_SIZE 16 /* TASK_COMM_LEN, the NUL included */

/* All integers in host byte order; names are the kernel's: tgid is the process, pid the thread. 72 bytes, no padding. */
struct event_header {
	u64 time_ns; /* CLOCK_BOOTTIME */
	u64 cgroup_id; /* kernfs id in the v2 hierarchy */
	u64 mntns_seq; /* never-reused id of the mount namespace; 0 unknown */
	u32 mntns; /* inode number of /proc/PID/ns/mnt; 0 unknown */
	u32 tgid;
	u32 pid;
	u32 ppid; /* tgid of the real parent */
	u32 uid; /* real ids in the initial user namespace */
	u32 gid;
	u32 cpu;
	u32 kind; /* which event of the tool this is, from 1 */
	u8 comm[COMM_SIZE];
};

_Static_assert(sizeof(struct event_header) == 72, "user space reads this layout");

/*
 * The ring buffer of a program file. The size is a default: the loader replaces it by what the user asked for. It is what
 * comes while the reader waits for a processor, at the rate of which the traced thing is capable.
 * A ring buffer has neither key nor value for the kernel; the loader drops the type again when it creates the map.
 */
#define EVENT_RING(record, bytes)                                                                                      \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                                    \
		__uint(max_entries, bytes);                                                                            \
		__type(value, record);                                                                                 \
	} events SEC(".maps")

/* LOST_RECORD: records that found no room in the ring buffer (or no memory to be built in). LOST_STATE: full tables. */
#define LOST_RECORD 0
#define LOST_STATE 1
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u64);
} lost SEC(".maps");

/* Unread bytes from which on a record wakes the reader, who otherwise looks on a short timer. 0: each record does. */
const volatile u64 wakeup_bytes = 0;

ALWAYS_INLINE void count_lost_as(u32 index)
{
	u64 *count = bpf_map_lookup_elem(&lost, &index);

	if (count)
		*count += 1;
}

ALWAYS_INLINE void count_lost(void)
{
	count_lost_as(LOST_RECORD);
}

/* Something that cannot be followed, because the table for it is full. */
ALWAYS_INLINE void count_untracked(void)
{
	count_lost_as(LOST_STATE);
}

/* A wake-up for each record costs more than the record: see wakeup_bytes. */
ALWAYS_INLINE u64 wakeup_flags(void *ring)
{
	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >= wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* Hands a record over; false if there was no room for it. */
ALWAYS_INLINE bool try_send(void *ring, const void *record, u64 size)
{
	return bpf_ringbuf_output(ring, record, size, wakeup_flags(ring)) == 0;
}

/* The same; one that finds no room is counted. */
ALWAYS_INLINE void send(void *ring, const void *record, u64 size)
{
	if (!try_send(ring, record, size))
		count_lost();
}

/* Fills what filter.h leaves open: when, where, which event, and the current task's comm. */
ALWAYS_INLINE void stamp(struct event_header *header, u32 kind)
{
	header->time_ns = bpf_ktime_get_boot_ns();
	header->cpu = bpf_get_smp_processor_id();
	header->kind = kind;
	bpf_get_current_comm(header->comm, sizeof(header->comm));
}

#endif
