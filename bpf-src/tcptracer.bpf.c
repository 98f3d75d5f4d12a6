// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tcptracer: the life of TCP connections: connect, accept, close, each once, in the name of the task that connected or
 * accepted.
 *
 * Hooks
 *   tp_btf/inet_sock_set_state     CLOSE to SYN_SENT happens in the connecting task, which is kept as the socket's owner; to
 *                                  ESTABLISHED is its connect; to CLOSE is the close, whoever or whatever caused it: the
 *                                  owner, another process that got the socket, an exit, a reset, a timeout.
 *   those of accept.h              the accepting task is kept as the owner.
 *
 * Owners are kept for connections that the filters do not want, too: a set may want them later, and their close must not
 * be taken for that of a connection that is older than the tool. Such older ones are shown at their close with what is
 * known: the task that closes them or shuts them down; nobody, if the network ends them.
 *
 * The close is when the connection is gone, which may be after the close(2) of a process.
 *
 * Misses
 *   all hooks       connects that fail (see tcpconnect); connections that no process accepts; paths that
 *                   the kernel adds to a multipath connection (bytes are those of the first path)
 *   of accepts, and then also of whose connection it was:
 *     fexit         those that were waiting at the start (the hook fentry sees them)
 *     kretprobe     the same; those beyond the number of waiting ones that the kernel follows
 *     tracepoint    io_uring; 32-bit callers; descriptors that another thread closes at once
 *   Told as lost: what happens on a processor while the programs for it are interrupted there (states
 *   and fentry have two, one for the other); what finds no room in the buffer or in the --table-size.
 */
#include "accept.h"
#include "core_read.h"
#include "filter.h"
#include "helpers.h"
#include "inet.h"
#include "owner.h"
#include "sock.h"
#include "twin.h"

ALWAYS_INLINE void report_close(struct sock *sk, const struct owner *owner, u32 old_state)
{
	struct tcp_event event = {};
	u64 received;

	begin_event(&event, owner, sk);
	event.start_ns = owner->established_ns;
	if (!ends_wanted(&event))
		return;
	received = core_get((struct tcp_sock *)sk, bytes_received);
	if (core_get(sk, __sk_common.skc_flags) & FLAG_DONE)
		received--; /* the peer's FIN */
	event.received = received;
	event.sent = core_get((struct tcp_sock *)sk, bytes_sent) - core_get((struct tcp_sock *)sk, bytes_retrans);
	event.error = core_get(sk, sk_err);
	event.old_state = old_state;
	if (!(owner->flags & OWNER_KNOWN))
		event.flags |= TCP_OWNER_UNKNOWN;
	if (owner->flags & OWNER_OLDER)
		event.flags |= TCP_OLDER;
	send_event(&event, KIND_CLOSE);
}

ALWAYS_INLINE void report_begin(struct sock *sk, const struct owner *owner, u32 kind)
{
	struct tcp_event event = {};

	if (!owner_wanted(owner))
		return;
	begin_event(&event, owner, sk);
	if (ends_wanted(&event))
		send_event(&event, kind);
}

/* Takes the owner; what is established without one was older. */
ALWAYS_INLINE void keep_or_count(struct sock *sk, const struct owner *owner)
{
	if (!keep_owner(sk, owner) && owner_wanted(owner))
		count_untracked();
}

/* ---- accept ----------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void accepted(struct sock *sk)
{
	struct owner *waiting = owner_of(sk);
	struct owner owner = {};

	take_owner(&owner, OWNER_ESTABLISHED);
	if (waiting)
		owner.established_ns = waiting->established_ns;
	owner.start_ns = owner.established_ns;
	keep_or_count(sk, &owner);
	report_begin(sk, &owner, KIND_ACCEPT);
	/* It may have ended before: then nobody else reports that. */
	if (core_get(sk, __sk_common.skc_state) == STATE_CLOSE && forget_owner(sk) && owner_wanted(&owner))
		report_close(sk, &owner, 0);
}

/* ---- connect and close ------------------------------------------------------------------------------------------ */

ALWAYS_INLINE void begin_connect(struct sock *sk)
{
	struct owner owner = {};

	/* Kept without an owner it is known not to be older, and nobody's. */
	if (!is_added_path(sk))
		take_owner(&owner, OWNER_CONNECTED);
	keep_or_count(sk, &owner);
}

ALWAYS_INLINE void establish(struct sock *sk, u32 old_state, const u64 *ctx)
{
	struct owner *found = owner_of(sk);
	struct owner owner = {};

	if (!found || is_left_over(found, ctx)) {
		/* One end of a connection that somebody may accept. An attempt to connect is older than the tool. */
		if (old_state != STATE_SYN_RECV)
			return;
		owner.established_ns = bpf_ktime_get_boot_ns();
		owner.flags = OWNER_ESTABLISHED;
		if (!keep_owner(sk, &owner))
			count_untracked();
		return;
	}
	/* Fast open: accepted before it is established. */
	found->established_ns = bpf_ktime_get_boot_ns();
	found->flags |= OWNER_ESTABLISHED;
	owner = *found;
	if (owner.flags & OWNER_CONNECTED)
		report_begin(sk, &owner, KIND_CONNECT);
}

/* A process has closed its end, or shut it down, and the kernel begins to say so to the other one. */
ALWAYS_INLINE void begin_close(struct sock *sk)
{
	struct owner owner = {};

	if (owner_of(sk))
		return;
	take_owner(&owner, OWNER_ESTABLISHED | OWNER_OLDER);
	keep_or_count(sk, &owner);
}

/* The end of a connection that is older than the tool, without a FIN of this side that would have told who closes it. */
ALWAYS_INLINE void end_older(struct sock *sk, u32 old_state)
{
	bool established = old_state == STATE_ESTABLISHED || old_state == STATE_CLOSE_WAIT;
	struct owner owner = {};

	/* Failed attempts; and connections that no process has: never accepted, or closed before the tool started. */
	if (old_state == STATE_SYN_SENT || old_state == STATE_SYN_RECV || old_state == STATE_LISTEN ||
	    old_state == STATE_CLOSE || old_state == STATE_NEW_SYN_RECV || !core_get(sk, sk_socket))
		return;
	owner.flags = OWNER_OLDER;
	/* Both directions are shut down first by close(2) only, which is in the task that closes. */
	if (established && core_get(sk, sk_shutdown) == SHUTDOWN_BOTH) {
		take_owner(&owner, OWNER_OLDER);
		if (!owner_wanted(&owner))
			return;
	} else if (!anybody_wanted())
		return;
	report_close(sk, &owner, old_state);
}

ALWAYS_INLINE void end(struct sock *sk, u32 old_state, const u64 *ctx)
{
	struct owner *found = owner_of(sk);
	struct owner owner;

	if (!found) {
		end_older(sk, old_state);
		return;
	}
	owner = *found;
	if (!forget_owner(sk) || is_left_over(&owner, ctx))
		return;
	/* Not for failed attempts, and not for connections that nobody has accepted. */
	if ((owner.flags & OWNER_ESTABLISHED) && (owner.flags & OWNER_KNOWN) && owner_wanted(&owner))
		report_close(sk, &owner, old_state);
}

OUT_OF_LINE void follow_state(const u64 *ctx)
{
	/* arguments: the socket, its state until now, its new state */
	struct sock *sk = (struct sock *)ctx[0];
	u32 old_state = (u32)ctx[1];
	u32 new_state = (u32)ctx[2];

	if (!is_tcp(sk))
		return;
	if (new_state == STATE_SYN_SENT)
		begin_connect(sk);
	else if (new_state == STATE_SYN_RECV && old_state == STATE_SYN_SENT)
		note_crossing(sk);
	else if (new_state == STATE_ESTABLISHED)
		establish(sk, old_state, ctx);
	else if (new_state == STATE_FIN_WAIT1 || new_state == STATE_LAST_ACK)
		begin_close(sk);
	else if (new_state == STATE_CLOSE)
		end(sk, old_state, ctx);
}

TWINS("tp_btf/inet_sock_set_state", set_state, PAIR_MAIN, follow_state(ctx), follow_state(ctx))

char LICENSE[] SEC("license") = "Dual BSD/GPL";
