// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tcpaccept: who accepts TCP connections from where.
 *
 * Hooks: those of accept.h, in the accepting task, after the kernel has given it the connection.
 *
 * Misses
 *   all hooks       connections that no process accepts
 *   fexit           accepts that were waiting at the start (the hook fentry sees them)
 *   kretprobe       the same; accepts beyond the number of waiting ones that the kernel follows
 *   tracepoint      io_uring; 32-bit callers; descriptors that another thread closes at once
 *   Told as lost: what happens on a processor while the programs for it are interrupted there (fentry
 *   has two, one for the other); what finds no room in the buffer.
 */
#include "accept.h"
#include "filter.h"
#include "helpers.h"
#include "sock.h"

ALWAYS_INLINE void accepted(struct sock *sk)
{
	struct tcp_event event = {};

	if (!wanted(&event.header))
		return;
	read_ends(&event, sk);
	if (!ends_wanted(&event) || !port_wanted(event.local_port))
		return;
	bpf_get_current_comm(event.header.comm, sizeof(event.header.comm));
	send_event(&event, KIND_ACCEPT);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
