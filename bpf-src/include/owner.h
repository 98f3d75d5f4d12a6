/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose connection a socket is: the identity of the task that connected or accepted, kept until the connection ends,
 * because what happens to a socket later happens in other tasks and in interrupts.
 *
 * In: the current task when it connects or accepts. Out: an `owner` by the address of its socket. Addresses are used again
 * by other sockets, but never before a state change to CLOSE, which takes the owner out, unless the change is missed; a new
 * connect of the same socket takes the place of the old one.
 */
#ifndef OWNER_H
#define OWNER_H

#include "filter.h"
#include "sock.h"

#define OWNER_KNOWN 0x01 /* `who` tells a task */
#define OWNER_CONNECTED 0x02 /* by connect; else by accept */
#define OWNER_ESTABLISHED 0x04
#define OWNER_OLDER 0x08 /* the connection is older than the tool, `who` is the task that closes it */
#define OWNER_REPORTED 0x10 /* as pending */
#define OWNER_CROSSED 0x20 /* the other end connected to it at the same time */

struct owner {
	struct event_header who; /* without time, CPU and kind */
	u64 cgroup; /* see current_cgroup() */
	u64 start_ns; /* connect: the begin; accept: when the connection was established; 0 not known */
	u64 established_ns; /* 0 not yet, or not known */
	u32 flags;
	u32 pad;
};

/* A connection that finds no room is counted as lost. The loader sets how many there may be. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct owner);
} owners SEC(".maps");

/* The current task as an owner. */
ALWAYS_INLINE void take_owner(struct owner *owner, u32 flags)
{
	identify(&owner->who);
	owner->cgroup = current_cgroup();
	owner->start_ns = bpf_ktime_get_boot_ns();
	owner->flags = flags | OWNER_KNOWN;
}

ALWAYS_INLINE bool owner_wanted(const struct owner *owner)
{
	return still_wanted(&owner->who, owner->cgroup);
}

ALWAYS_INLINE struct owner *owner_of(struct sock *sk)
{
	u64 key = (u64)sk;

	return bpf_map_lookup_elem(&owners, &key);
}

/* False if the table is full. */
ALWAYS_INLINE bool keep_owner(struct sock *sk, const struct owner *owner)
{
	u64 key = (u64)sk;

	return bpf_map_update_elem(&owners, &key, owner, BPF_ANY) == 0;
}

/*
 * True for the one who took it out, if several try at a time. If it cannot be taken out (the kernel refuses to wait for a
 * lock that an interrupted program of the same processor holds), what was to be said about it is not: it is counted.
 */
ALWAYS_INLINE bool forget_owner(struct sock *sk)
{
	u64 key = (u64)sk;
	long error = bpf_map_delete_elem(&owners, &key);

	if (error && error != -ENOENT)
		count_untracked();
	return error == 0;
}

/* The other end of an attempt to connect does the same: from now on the states are those of a connection that is accepted. */
ALWAYS_INLINE void note_crossing(struct sock *sk)
{
	struct owner *found = owner_of(sk);

	if (found)
		found->flags |= OWNER_CROSSED;
}

/*
 * Whether this is the owner of a socket that had the address before, whose CLOSE was missed and is counted as lost: who connects
 * does not leave SYN_RECV, unless both ends did. The state is read from the context (see follow_state()) once more: the
 * verifier would go through all that follows for each one that was asked about before.
 */
ALWAYS_INLINE bool is_left_over(const struct owner *owner, const u64 *ctx)
{
	return (owner->flags & (OWNER_CONNECTED | OWNER_CROSSED)) == OWNER_CONNECTED &&
	       ((const volatile u64 *)ctx)[1] == STATE_SYN_RECV;
}

/* An event of the owner. */
ALWAYS_INLINE void begin_event(struct tcp_event *event, const struct owner *owner, struct sock *sk)
{
	event->header = owner->who;
	event->start_ns = owner->start_ns;
	read_ends(event, sk);
}

#endif
