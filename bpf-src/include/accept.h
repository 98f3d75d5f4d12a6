/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks on accept, for the tools that include this: each calls accepted(), which is theirs.
 *
 * In: the return of accept in the task that accepted. Out: the TCP socket that it got.
 *   fentry/security_sock_graft     where a connection gets the socket of a process, after any wait: every way to accept,
 *                                  io_uring too, also one that was waiting when the tool started. Only accepts pay, those
 *                                  of local sockets a little.
 *   fexit/inet_csk_accept          the same, but for calls that were waiting when the tool started; for kernels without
 *                                  hooks for network security
 *   tracepoint syscalls:sys_exit_accept, sys_exit_accept4     the descriptor that the call returns leads to the socket. A
 *                                  call that was waiting when the tool started returns through them, too. Each system call
 *                                  of the host pays a little; io_uring and 32-bit callers are not seen.
 */
#ifndef ACCEPT_H
#define ACCEPT_H

#include "sock.h"
#include "twin.h"

/* What the tool does with a connection that the current task has accepted. */
ALWAYS_INLINE void accepted(struct sock *sk);

ALWAYS_INLINE void grafted(const u64 *ctx)
{
	/* arguments: the connection, the socket it gets */
	struct sock *sk = tcp_under((struct sock *)ctx[0]);

	if (sk)
		accepted(sk);
}

TWINS("?fentry/security_sock_graft", enter_graft, PAIR_ACCEPT, grafted(ctx), grafted(ctx))

ALWAYS_INLINE void returned(struct sock *sk)
{
	if (sk)
		sk = tcp_under(sk);
	if (sk)
		accepted(sk);
}

SEC("?fexit/inet_csk_accept")
int exit_csk_accept(const u64 *ctx)
{
	/*
	 * The return value comes after the arguments, which are two from 6.10 on and were four. Each load is written out:
	 * the compiler would make one of both, at an address that it computes from ctx, which the verifier refuses.
	 */
	struct sock *sk;

	if (core_field_exists(struct proto_accept_arg, flags))
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(sk) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 32)" : "=r"(sk) : "r"(ctx));
	returned(sk);
	return 0;
}

ALWAYS_INLINE int exit_accept_call(long ret)
{
	struct socket *socket = ret < 0 ? NULL : socket_of((u32)ret);
	struct sock *sk = socket ? tcp_under(core_get(socket, sk)) : NULL;

	if (sk)
		accepted(sk);
	return 0;
}

SEC("?tracepoint/syscalls/sys_exit_accept")
int exit_accept(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_accept_call(ctx->ret);
}

SEC("?tracepoint/syscalls/sys_exit_accept4")
int exit_accept4(const struct trace_event_raw_sys_exit *ctx)
{
	return exit_accept_call(ctx->ret);
}

#endif
