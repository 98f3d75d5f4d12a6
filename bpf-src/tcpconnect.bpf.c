// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tcpconnect: who opens TCP connections to where, and what becomes of each attempt.
 *
 * Hooks
 *   tp_btf/inet_sock_set_state     the life of an attempt. CLOSE to SYN_SENT happens in the connecting task: its identity is
 *                                  kept with the socket. SYN_SENT to ESTABLISHED or CLOSE is the outcome; it comes from
 *                                  an interrupt mostly, so that only what was kept tells who it was.
 *   tp_btf/tcp_retransmit_skb      attempts without an answer: the kernel repeats the SYN after 1, 3, 7... seconds, and an
 *                                  attempt that has lasted long enough by then is reported as pending.
 *   failures before the first packet (no route, no port, not allowed), best first:
 *     fexit/tcp_v4_connect, tcp_v6_connect     only traced functions pay
 *     kprobe and kretprobe of the same         likewise, some more; arguments are kept from one to the other
 *     tracepoint syscalls:sys_enter_connect and sys_exit_connect     each system call of the host pays a little. Where there
 *                                  is socketcall(2), C libraries connect by that: its tracepoints are added.
 *   DNS answers that tasks receive, if wanted: those of dns.h
 *
 * Misses
 *   all hooks       connects that began before the tool; the own port with --immediate, as the kernel
 *                   chooses it later; with --immediate or --count, failures before the first packet;
 *                   paths that the kernel adds to a multipath connection
 *   of failures before the first packet:
 *     all hooks     calls that seccomp or a tracer stops
 *     fexit, kretprobe    what is refused above TCP: bad addresses and descriptors, and what security
 *                   modules or BPF programs of a cgroup forbid
 *     kretprobe     calls beyond the number of simultaneous ones that the kernel follows
 *     tracepoint    io_uring; TCP fast open by sendto; 32-bit callers; calls under way at the start
 *   of DNS answers, with --dns:
 *     all hooks     those from before the start; encrypted ones; from another port than 53 (mDNS);
 *                   what a daemon such as nscd hands on in its own way; datagrams of a socket that is
 *                   not connected, received without asking who sent them; what lies in the second
 *                   piece of memory of a call, unless the first took the length of TCP only
 *     tp_btf        io_uring; 32-bit callers; all but the first eight messages of a recvmmsg
 *   Told as lost: what happens on a processor while the programs for it are interrupted there (states
 *   and fexit of failures have two, one for the other); what finds no room in the buffer, in the
 *   --table-size, or in a table of 8192 calls.
 */
#include "core_read.h"
#include "dns.h"
#include "event.h"
#include "filter.h"
#include "helpers.h"
#include "inet.h"
#include "kernel.h"
#include "owner.h"
#include "sock.h"
#include "syscall_regs.h"
#include "twin.h"

const volatile bool report_sent = false; /* report when the first packet goes out, and no outcome */
const volatile bool only_failures = false;
const volatile bool count_only = false; /* no records but a count for each connection's ends */
const volatile bool count_local_port = false; /* the local port is one of these */
const volatile u64 pending_ns = 1000000000; /* how long an attempt may last before it is reported as pending */

/* Timers of the kernel fire a little early, compared with the clock that we read. */
#define TIMER_SLACK_NS 100000000

/* ---- counts ----------------------------------------------------------------------------------------------------- */

struct count_key {
	u8 local[16];
	u8 remote[16];
	u16 local_port; /* 0 unless count_local_port */
	u16 remote_port;
	u16 version;
	u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct count_key);
	__type(value, u64);
} counts SEC(".maps");

ALWAYS_INLINE void count_connect(const struct tcp_event *event)
{
	struct count_key key = {.remote_port = event->remote_port, .version = event->version};
	u64 one = 1;
	u64 *count;

	__builtin_memcpy(key.local, event->local, sizeof(key.local));
	__builtin_memcpy(key.remote, event->remote, sizeof(key.remote));
	if (count_local_port)
		key.local_port = event->local_port;
	count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else if (bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST)) {
		/* Somebody was faster, or the table is full. */
		count = bpf_map_lookup_elem(&counts, &key);
		if (count)
			__sync_fetch_and_add(count, 1);
		else
			count_untracked();
	}
}

OUT_OF_LINE void report(struct tcp_event *event, u32 result, s32 error)
{
	event->result = result;
	event->error = error;
	if (only_failures && result != RESULT_ERROR && result != RESULT_CLOSED)
		return;
	if (count_only)
		count_connect(event);
	else
		send_event(event, KIND_CONNECT);
}

/* ---- failures before the first packet --------------------------------------------------------------------------- */

/*
 * Of the calls of connect(2), or of the functions below it, that are going on, by pid_tgid: where to. The exit takes it
 * out; one that the kernel does not report is overwritten by the thread's next call.
 */
struct connect_call {
	struct sock *sk;
	u8 address[28]; /* struct sockaddr_in or sockaddr_in6 */
	u32 begun; /* the first packet goes out: the state changes tell the outcome */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct connect_call);
} calls SEC(".maps");

ALWAYS_INLINE void note_begun(u32 begun)
{
	u64 caller = bpf_get_current_pid_tgid();
	struct connect_call *call = bpf_map_lookup_elem(&calls, &caller);

	if (call)
		call->begun = begun;
}

/*
 * The remote end is what the caller asked for; the socket has the local one, as far as it is chosen.
 */
OUT_OF_LINE void fail_early(struct sock *sk, const u8 *address, s32 error)
{
	u16 family = *(const u16 *)address;
	struct tcp_event event = {};
	struct owner owner = {};

	take_owner(&owner, OWNER_CONNECTED);
	if (!owner_wanted(&owner))
		return;
	begin_event(&event, &owner, sk);
	event.remote_port = swap16(*(const u16 *)(address + 2));
	event.start_ns = 0;
	event.scope = 0;
	__builtin_memset(event.remote, 0, sizeof(event.remote));
	if (family == AF_INET6) {
		core_read_into(event.local, sk, __sk_common.skc_v6_rcv_saddr);
		__builtin_memcpy(event.remote, address + 8, 16);
		name_version(&event);
		if (is_link_local(event.remote))
			event.scope = *(const u32 *)(address + 24);
	} else {
		event.version = 4;
		__builtin_memset(event.local, 0, sizeof(event.local));
		core_read_into(event.local, sk, __sk_common.skc_rcv_saddr);
		__builtin_memcpy(event.remote, address + 4, 4);
	}
	if (ends_wanted(&event) && port_wanted(event.remote_port))
		report(&event, RESULT_ERROR, error);
}

ALWAYS_INLINE void returned_v4(const u64 *ctx)
{
	/* arguments: the socket, the address in kernel memory, its length; then the return value */
	struct sock *sk = (struct sock *)ctx[0];
	u8 address[28] __attribute__((aligned(8))) = {};
	s32 ret = (s32)ctx[3];

	/* An IPv6 socket comes here for a mapped address, and its own function reports the failure. */
	if (ret >= 0 || core_get(sk, __sk_common.skc_family) != AF_INET)
		return;
	bpf_probe_read_kernel(address, 16, (const void *)ctx[1]);
	fail_early(sk, address, -ret);
}

TWINS("?fexit/tcp_v4_connect", fail_v4, PAIR_CONNECT_V4, returned_v4(ctx), returned_v4(ctx))

ALWAYS_INLINE void returned_v6(const u64 *ctx)
{
	u8 address[28] __attribute__((aligned(8))) = {};
	s32 ret = (s32)ctx[3];

	if (ret >= 0)
		return;
	bpf_probe_read_kernel(address, sizeof(address), (const void *)ctx[1]);
	fail_early((struct sock *)ctx[0], address, -ret);
}

TWINS("?fexit/tcp_v6_connect", fail_v6, PAIR_CONNECT_V6, returned_v6(ctx), returned_v6(ctx))

#define SOCKADDR_IN_SIZE 16
#define SOCKADDR_IN6_SIZE 24 /* without the scope, which is optional */

ALWAYS_INLINE void keep_call(const struct connect_call *call)
{
	u64 caller = bpf_get_current_pid_tgid();

	if (bpf_map_update_elem(&calls, &caller, call, BPF_ANY))
		count_untracked();
}

/* Takes out what the current task's call was kept as; false if there is none. */
ALWAYS_INLINE bool take_call(struct connect_call *call)
{
	u64 caller = bpf_get_current_pid_tgid();
	struct connect_call *found = bpf_map_lookup_elem(&calls, &caller);

	if (!found)
		return false;
	*call = *found; /* the element may be used again once it is deleted */
	bpf_map_delete_elem(&calls, &caller);
	return true;
}

#ifdef HAVE_SYSCALL_REGS
/* An IPv6 socket comes through both functions for a mapped address: what counts is that of its own family. */
ALWAYS_INLINE int call_function(const struct pt_regs *regs, u16 family, u32 size)
{
	struct connect_call call = {.sk = (struct sock *)FUNCTION_ARGUMENT_0(regs)};
	struct event_header who = {};

	if (core_get(call.sk, __sk_common.skc_family) != family || !wanted(&who))
		return 0;
	bpf_probe_read_kernel(call.address, size, (const void *)FUNCTION_ARGUMENT_1(regs));
	keep_call(&call);
	return 0;
}

ALWAYS_INLINE int return_function(const struct pt_regs *regs, u16 family)
{
	u64 caller = bpf_get_current_pid_tgid();
	struct connect_call *found = bpf_map_lookup_elem(&calls, &caller);
	s32 ret = (s32)FUNCTION_RESULT(regs);
	struct connect_call call;

	if (found && core_get(found->sk, __sk_common.skc_family) == family && take_call(&call) && ret < 0)
		fail_early(call.sk, call.address, -ret);
	return 0;
}

SEC("?kprobe/tcp_v4_connect")
int call_v4_connect(const struct pt_regs *ctx)
{
	return call_function(ctx, AF_INET, SOCKADDR_IN_SIZE);
}

SEC("?kprobe/tcp_v6_connect")
int call_v6_connect(const struct pt_regs *ctx)
{
	return call_function(ctx, AF_INET6, sizeof(((struct connect_call *)0)->address));
}

SEC("?kretprobe/tcp_v4_connect")
int ret_v4_connect(const struct pt_regs *ctx)
{
	return return_function(ctx, AF_INET);
}

SEC("?kretprobe/tcp_v6_connect")
int ret_v6_connect(const struct pt_regs *ctx)
{
	return return_function(ctx, AF_INET6);
}
#endif

/* Reads the address that the caller gives; false if it is no internet address. */
ALWAYS_INLINE bool read_address(struct connect_call *call, const void *address, u32 size)
{
	u16 family;

	if (size < SOCKADDR_IN_SIZE || bpf_probe_read_user(call->address, SOCKADDR_IN_SIZE, address))
		return false;
	family = *(u16 *)call->address;
	if (family != AF_INET6)
		return family == AF_INET;
	if (size < SOCKADDR_IN6_SIZE)
		return false;
	if (size < sizeof(call->address))
		return bpf_probe_read_user(call->address, SOCKADDR_IN6_SIZE, address) == 0;
	return bpf_probe_read_user(call->address, sizeof(call->address), address) == 0;
}

/* connect(2) begins */
ALWAYS_INLINE int begin_call(u64 fd, u64 address, u64 size)
{
	struct connect_call call = {};
	struct event_header who = {};
	struct socket *socket = socket_of((u32)fd);

	/* A socket that is connecting already only tells the outcome again. */
	if (!socket || core_get(socket, state) != PROGRESS_UNCONNECTED)
		return 0;
	call.sk = core_get(socket, sk);
	if (!(is_tcp(call.sk) || is_multipath(call.sk)) || !wanted(&who))
		return 0;
	if (read_address(&call, (const void *)address, (u32)size))
		keep_call(&call);
	return 0;
}

/* and returns, if it has begun */
ALWAYS_INLINE int end_call(long ret)
{
	struct connect_call call;

	if (!take_call(&call))
		return 0;
	/* EINPROGRESS: TCP fast open defers the connect to the first data. */
	if (ret < 0 && ret != -EINPROGRESS && !call.begun)
		fail_early(call.sk, call.address, (s32)-ret);
	return 0;
}

SEC("?tracepoint/syscalls/sys_enter_connect")
int enter_connect(const struct trace_event_raw_sys_enter *ctx)
{
	return begin_call(ctx->args[0], ctx->args[1], ctx->args[2]);
}

SEC("?tracepoint/syscalls/sys_exit_connect")
int exit_connect(const struct trace_event_raw_sys_exit *ctx)
{
	return end_call(ctx->ret);
}

SEC("?tracepoint/syscalls/sys_enter_socketcall")
int enter_sockcall(const struct trace_event_raw_sys_enter *ctx)
{
	u64 args[3];

	if (ctx->args[0] != SOCKETCALL_CONNECT || bpf_probe_read_user(args, sizeof(args), (const void *)ctx->args[1]))
		return 0;
	return begin_call(args[0], args[1], args[2]);
}

SEC("?tracepoint/syscalls/sys_exit_socketcall")
int exit_sockcall(const struct trace_event_raw_sys_exit *ctx)
{
	return end_call(ctx->ret);
}

/* ---- from the first packet to the outcome ----------------------------------------------------------------------- */

ALWAYS_INLINE void begin_connect(struct sock *sk)
{
	struct tcp_event event = {};
	struct owner owner = {};

	note_begun(true);
	take_owner(&owner, OWNER_CONNECTED);
	if (!owner_wanted(&owner))
		return;
	begin_event(&event, &owner, sk);
	if (!ends_wanted(&event) || !port_wanted(event.remote_port))
		return;
	if (report_sent)
		report(&event, RESULT_SENT, 0);
	else if (!keep_owner(sk, &owner))
		count_untracked();
}

/* Why an attempt ended without a connection: RESULT_NONE if connect() itself fails, and its return value tells. */
ALWAYS_INLINE u32 failure(struct sock *sk, s32 error)
{
	if (error)
		return RESULT_ERROR;
	if (core_get(sk, sk_shutdown) != SHUTDOWN_BOTH &&
	    core_get(core_get(sk, sk_socket), state) == PROGRESS_UNCONNECTED)
		return RESULT_NONE;
	return RESULT_CLOSED;
}

ALWAYS_INLINE void end_connect(struct sock *sk, u32 new_state, const u64 *ctx)
{
	struct tcp_event event = {};
	struct owner *found = owner_of(sk);
	struct owner owner;
	u32 result = RESULT_OK;
	s32 error = 0;

	if (new_state == STATE_CLOSE) {
		error = core_get(sk, sk_err);
		result = failure(sk, error);
		if (result == RESULT_NONE)
			note_begun(false);
	}
	if (!found)
		return;
	owner = *found;
	if (!forget_owner(sk) || is_left_over(&owner, ctx) || result == RESULT_NONE || !owner_wanted(&owner))
		return;
	if (count_only && (owner.flags & OWNER_REPORTED))
		return;
	begin_event(&event, &owner, sk);
	report(&event, result, error);
}

OUT_OF_LINE void follow_state(const u64 *ctx)
{
	/* arguments: the socket, its state until now, its new state */
	struct sock *sk = (struct sock *)ctx[0];
	u32 old_state = (u32)ctx[1];
	u32 new_state = (u32)ctx[2];

	if (new_state == STATE_SYN_SENT) {
		if (is_tcp(sk) && !is_added_path(sk))
			begin_connect(sk);
	} else if (old_state == STATE_SYN_SENT || old_state == STATE_SYN_RECV) {
		/* SYN_RECV: two ends that connect to each other at a time; the outcome is still to come. */
		if (new_state == STATE_SYN_RECV)
			note_crossing(sk);
		else if (new_state == STATE_ESTABLISHED || new_state == STATE_CLOSE)
			end_connect(sk, new_state, ctx);
	}
}

TWINS("tp_btf/inet_sock_set_state", set_state, PAIR_MAIN, follow_state(ctx), follow_state(ctx))

SEC("?tp_btf/tcp_retransmit_skb")
int retransmit(const u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct tcp_event event = {};
	struct owner *owner;

	if (core_get(sk, __sk_common.skc_state) != STATE_SYN_SENT)
		return 0;
	owner = owner_of(sk);
	if (!owner || (owner->flags & OWNER_REPORTED) ||
	    bpf_ktime_get_boot_ns() - owner->start_ns + TIMER_SLACK_NS < pending_ns)
		return 0;
	owner->flags |= OWNER_REPORTED;
	if (!owner_wanted(owner))
		return 0;
	begin_event(&event, owner, sk);
	report(&event, RESULT_PENDING, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
