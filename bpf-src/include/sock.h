/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the tcp tools share: the record, a socket's two ends, and the filters on them.
 *
 * In: a struct sock, or a file descriptor of the current task. Out: addresses and ports in a `struct tcp_event`, yes or no
 * to the user's choice of ports, family and network namespace, records in `events`. Who did it is in filter.h, who is
 * remembered for a socket in owner.h, the kernel's structures are in inet.h.
 *
 * IPv4-mapped addresses (::ffff:a.b.c.d on an IPv6 socket) are IPv4 for everybody: `version` is 4, the addresses have four
 * bytes, and only `family` tells that the socket is IPv6.
 */
#ifndef SOCK_H
#define SOCK_H

#include "core_read.h"
#include "event.h"
#include "helpers.h"
#include "inet.h"
#include "kernel.h"

#define KIND_CONNECT 1
#define KIND_ACCEPT 2
#define KIND_CLOSE 3

/* tcp_event.result of a connect. */
enum connect_result {
	RESULT_NONE, /* not a connect */
	RESULT_OK,
	RESULT_ERROR, /* see tcp_event.error */
	RESULT_CLOSED, /* given up by the process, before there was an outcome */
	RESULT_PENDING, /* no answer for as long as the user waits; a record with the outcome follows */
	RESULT_SENT, /* the first packet goes out now; no record follows */
};

#define TCP_OWNER_UNKNOWN 0x01 /* older than the tool, and ended by the network: the header tells nobody */
#define TCP_OLDER 0x02 /* older than the tool: the header tells who closed it */

/* One record for the three tools: 160 bytes without padding. */
struct tcp_event {
	struct event_header header; /* whose connection it is; time_ns and cpu: of the event itself */
	u8 local[16]; /* network byte order; IPv4 has the first four bytes */
	u8 remote[16];
	u16 local_port; /* host byte order; 0 not known (yet) */
	u16 remote_port;
	u16 family; /* AF_INET, AF_INET6: of the socket */
	u16 version; /* 4, 6: of the addresses */
	u32 netns; /* inode number of the network namespace */
	u32 scope; /* link that a link-local remote address is on; 0 none */
	u64 start_ns; /* CLOCK_BOOTTIME: connect: its begin; close: when it was established; 0 not known */
	u64 sent; /* bytes of payload, retransmissions not counted; only at close */
	u64 received;
	s32 error; /* connect: errno of the failure; close: errno of a reset or timeout; 0 none */
	u32 result; /* enum connect_result */
	u32 flags; /* TCP_* */
	u32 old_state; /* enum tcp_state before the event; 0 not known */
};

_Static_assert(sizeof(struct tcp_event) == 160, "user space reads this layout");

EVENT_RING(struct tcp_event, 512 << 10);

const volatile u32 filter_version = 0; /* 4 or 6; 0: any, here and below */
const volatile u32 filter_netns = 0;
const volatile bool filter_ports_on = false;
/* One bit for each port, the lowest of byte 0 for port 0. User space says which end's port it is by the tool. */
const volatile u8 filter_ports[65536 / 8] = {};

ALWAYS_INLINE bool port_wanted(u16 port)
{
	return !filter_ports_on || (filter_ports[port >> 3] >> (port & 7)) & 1;
}

/* Family and network namespace; the port is the tool's to ask for, as it knows which end is meant. */
ALWAYS_INLINE bool ends_wanted(const struct tcp_event *event)
{
	return (!filter_version || event->version == filter_version) && (!filter_netns || event->netns == filter_netns);
}

/* ---- addresses -------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE u16 swap16(u16 value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(value);
#else
	return value;
#endif
}

/* Words of an address as it lies in memory: ten bytes of zeros, two of ones. */
ALWAYS_INLINE bool is_mapped(const u8 *address)
{
	const u32 *words = (const u32 *)address;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const u32 mark = 0xffff0000;
#else
	const u32 mark = 0x0000ffff;
#endif

	return words[0] == 0 && words[1] == 0 && words[2] == mark;
}

/* fe80::/10 */
ALWAYS_INLINE bool is_link_local(const u8 *address)
{
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

/* Turns a mapped pair of addresses into IPv4; the event's addresses must be 16 bytes then. */
ALWAYS_INLINE void name_version(struct tcp_event *event)
{
	u32 *local = (u32 *)event->local;
	u32 *remote = (u32 *)event->remote;

	event->version = 6;
	if (!is_mapped(event->remote))
		return;
	event->version = 4;
	local[0] = local[3]; /* mapped too, or not chosen yet: then it is 0 */
	remote[0] = remote[3];
	local[1] = local[2] = local[3] = 0;
	remote[1] = remote[2] = remote[3] = 0;
}

/* Both ends as the socket has them. */
ALWAYS_INLINE void read_ends(struct tcp_event *event, struct sock *sk)
{
	event->family = core_get(sk, __sk_common.skc_family);
	event->netns = core_get(core_get(sk, __sk_common.skc_net.net), ns.inum);
	event->local_port = swap16(core_get((struct inet_sock *)sk, inet_sport));
	event->remote_port = swap16(core_get(sk, __sk_common.skc_dport));
	if (event->family == AF_INET6) {
		core_read_into(event->local, sk, __sk_common.skc_v6_rcv_saddr);
		core_read_into(event->remote, sk, __sk_common.skc_v6_daddr);
		name_version(event);
		if (event->version == 6 && is_link_local(event->remote))
			event->scope = (u32)core_get(sk, __sk_common.skc_bound_dev_if);
	} else {
		event->version = 4;
		core_read_into(event->local, sk, __sk_common.skc_rcv_saddr);
		core_read_into(event->remote, sk, __sk_common.skc_daddr);
	}
}

/* ---- sockets ---------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE bool is_tcp(struct sock *sk)
{
	u16 family = core_get(sk, __sk_common.skc_family);

	return core_get(sk, sk_protocol) == IPPROTO_TCP && (family == AF_INET || family == AF_INET6);
}

/* A multipath connection before its first path is there. */
ALWAYS_INLINE bool is_multipath(struct sock *sk)
{
	return core_get(sk, sk_protocol) == IPPROTO_MPTCP;
}

/* The TCP connection under a socket: itself, or the first one of a multipath connection; NULL for other protocols. */
ALWAYS_INLINE struct sock *tcp_under(struct sock *sk)
{
	if (core_field_exists(struct mptcp_sock, first) && is_multipath(sk))
		sk = core_get((struct mptcp_sock *)sk, first);
	return sk && is_tcp(sk) ? sk : NULL;
}

/*
 * A path that the kernel adds to a multipath connection by itself, in a task of its own. Nobody has connected or accepted
 * it: the first path stands for the connection.
 */
ALWAYS_INLINE bool is_added_path(struct sock *sk)
{
	struct mptcp_subflow_context *path;

	if (!core_field_exists(struct mptcp_subflow_context, conn))
		return false;
	path = core_get((struct inet_connection_sock *)sk, icsk_ulp_data);
	/* What another protocol keeps there does not point back. */
	return path && core_get(path, tcp_sock) == sk &&
	       core_get((struct mptcp_sock *)core_get(path, conn), first) != sk;
}

/* The socket behind a descriptor of the current task; NULL if that is no socket. */
ALWAYS_INLINE struct socket *socket_of(u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = core_get(core_get(task, files), fdt);
	struct file *file = NULL;
	struct socket *socket;

	if (fd >= core_get(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), core_get(table, fd) + fd);
	socket = core_get((struct file___of_socket *)file, private_data);
	/* Only a socket points back. */
	return file && core_get(socket, file) == file ? socket : NULL;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* The header is of the owner: only when and where are the event's own. */
ALWAYS_INLINE void send_event(struct tcp_event *event, u32 kind)
{
	event->header.time_ns = bpf_ktime_get_boot_ns();
	event->header.cpu = bpf_get_smp_processor_id();
	event->header.kind = kind;
	send(&events, event, sizeof(*event));
}

#endif
