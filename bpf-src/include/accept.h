/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks on accept, for the tools that include this: each calls accepted(), which is theirs.
 *
 * In: the task that accepts, when it has got a connection. Out: that TCP socket.
 *   fentry/security_sock_graft     where the socket is given to the task, in every way to accept, io_uring too; only accepts
 *                                  pay. A call that was waiting when the tool started comes through here, too. (Kernels
 *                                  with CONFIG_SECURITY_NETWORK, which is all that have SELinux or AppArmor.)
 *   fexit/inet_csk_accept          the same but for calls that were waiting: those do not return through it
 *   kprobe/security_sock_graft     as its fentry, for some more
 *   kretprobe/inet_csk_accept      as its fexit; and of calls that wait at a time the kernel follows a limited number
 *   tracepoint syscalls:sys_exit_accept, sys_exit_accept4     the descriptor that the call returns leads to the socket. A
 *                                  call that was waiting when the tool started returns through them, too. Each system call
 *                                  of the host pays a little; io_uring and 32-bit callers are not seen. Where there is
 *                                  socketcall(2), C libraries accept by that: sys_exit_socketcall is added.
 */
#ifndef ACCEPT_H
#define ACCEPT_H

#include "sock.h"
#include "syscall_regs.h"
#include "twin.h"

/* What the tool does with a connection that the current task has accepted. */
ALWAYS_INLINE void accepted(struct sock *sk);

OUT_OF_LINE int took(struct sock *sk)
{
	if (sk)
		sk = tcp_under(sk);
	if (sk)
		accepted(sk);
	return 0;
}

/* arguments: the connection, the socket it gets */
TWINS("?fentry/security_sock_graft", enter_graft, PAIR_ACCEPT, took((struct sock *)ctx[0]), took((struct sock *)ctx[0]))

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
	return took(sk);
}

#ifdef HAVE_SYSCALL_REGS
SEC("?kprobe/security_sock_graft")
int call_graft(const struct pt_regs *ctx)
{
	return took((struct sock *)FUNCTION_ARGUMENT_0(ctx));
}

SEC("?kretprobe/inet_csk_accept")
int ret_csk_accept(const struct pt_regs *ctx)
{
	return took((struct sock *)FUNCTION_RESULT(ctx));
}
#endif

ALWAYS_INLINE int exit_accept_call(long ret)
{
	struct socket *socket = ret < 0 ? NULL : socket_of((u32)ret);

	return took(socket ? core_get(socket, sk) : NULL);
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

#ifdef HAVE_SYSCALL_REGS
SEC("?tracepoint/syscalls/sys_exit_socketcall")
int accept_sockcall(const struct trace_event_raw_sys_exit *ctx)
{
	const struct pt_regs *regs = bpf_task_pt_regs(bpf_get_current_task_btf());
	u64 call = ARGUMENT_0(regs);

	return call == SOCKETCALL_ACCEPT || call == SOCKETCALL_ACCEPT4 ? exit_accept_call(ctx->ret) : 0;
}
#endif

#endif
