/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The socket structures of the kernel, reduced to the fields we read; see kernel.h for how they are meant. Numbers that
 * are not in BTF, because the kernel has them as macros, are here too: states, families, protocols, errors.
 */
#ifndef INET_H
#define INET_H

#include "helpers.h"
#include "kernel.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262

/* States of a TCP socket, as in tcp(7) and /proc/net/tcp. */
enum tcp_state {
	STATE_ESTABLISHED = 1,
	STATE_SYN_SENT = 2,
	STATE_SYN_RECV = 3,
	STATE_FIN_WAIT1 = 4,
	STATE_FIN_WAIT2 = 5,
	STATE_TIME_WAIT = 6,
	STATE_CLOSE = 7,
	STATE_CLOSE_WAIT = 8,
	STATE_LAST_ACK = 9,
	STATE_LISTEN = 10,
	STATE_CLOSING = 11,
	STATE_NEW_SYN_RECV = 12,
};

/* An enumeration, because CO-RE does not take an integer for one. */
enum socket_progress { PROGRESS_FREE, PROGRESS_UNCONNECTED, PROGRESS_CONNECTING, PROGRESS_CONNECTED };

#define ENOENT 2
#define EINPROGRESS 115

#define SHUTDOWN_BOTH 3
#define FLAG_DONE (1UL << 1) /* of skc_flags: the peer's FIN has come, and nothing else sets it */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Only read as a whole: its one member is a union. */
struct in6_addr {
	u8 bytes[16];
};

struct net {
	struct ns_common ns;
};

struct possible_net {
	struct net *net;
};

struct sock_common {
	u32 skc_daddr; /* the other end; network byte order, here and below */
	u32 skc_rcv_saddr;
	u16 skc_dport;
	u16 skc_num; /* the own port in host byte order; 0 again once the port was given back */
	u16 skc_family;
	u8 skc_state;
	s32 skc_bound_dev_if;
	struct possible_net skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	s32 sk_err;
	u16 sk_protocol; /* 16 bits from 5.6 on */
	u8 sk_shutdown;
	struct socket *sk_socket; /* NULL: no process has it, or none any more */
};

struct inet_sock {
	u16 inet_sport; /* network byte order; stays when skc_num goes */
};

struct tcp_sock {
	u64 bytes_received; /* what the peer sent in order; its FIN counts as one byte */
	u64 bytes_sent; /* payload, retransmissions included (4.19) */
	u64 bytes_retrans;
};

struct inet_connection_sock {
	void *icsk_ulp_data; /* of the protocol above TCP, as it likes */
};

struct mptcp_sock {
	struct sock *first; /* the TCP connection that it began with */
};

/* One path of a multipath connection: that is its icsk_ulp_data (5.6). */
struct mptcp_subflow_context {
	struct sock *tcp_sock; /* the path */
	struct sock *conn; /* the connection */
};

struct socket {
	enum socket_progress state;
	struct file *file;
	struct sock *sk;
};

/* One argument of inet_csk_accept from 6.10 on, in the place of three. */
struct proto_accept_arg {
	s32 flags;
};

/* Which memory an iov_iter walks through. The numbers are the kernel's own: ask with core_enum_value. */
enum iter_type {
	ITER_IOVEC, /* user memory in pieces */
	ITER_UBUF, /* in one piece (6.0) */
};

/* A piece of user memory; system calls take it like this, too. */
struct iovec {
	u8 *iov_base;
	unsigned long iov_len;
};

/* Where received bytes go. It has moved on by as many once they are there. */
struct iov_iter {
	u8 iter_type; /* 5.14 */
	unsigned long iov_offset; /* in the current piece */
	u8 *ubuf; /* 6.0 */
	struct iovec *__iov; /* the current piece; 6.4 */
};

struct iov_iter___older {
	u32 type; /* up to 5.13: iter_type, and in bit 0 the direction */
	struct iovec *iov; /* up to 6.3 */
};

struct msghdr {
	void *msg_name; /* in the kernel: who sent it; NULL if the caller does not ask */
	struct iov_iter msg_iter;
};

/* The file of a socket. */
struct file___of_socket {
	void *private_data;
};

#pragma clang attribute pop

#endif
