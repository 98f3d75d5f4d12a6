/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A congestion control that counts: tables of functions that the kernel calls, with and without a link. */
#include "test.h"

struct sock;

/* The kernel's has more members, and other offsets. */
struct tcp_congestion_ops {
	u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
	void (*init)(struct sock *sk);
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	void (*never_had_this)(struct sock *sk);
};

/* As in CO-RE, what follows three underscores is only for us. */
struct tcp_congestion_ops___other {
	u32 (*ssthresh)(struct sock *sk);
	u64 name;
};

struct no_such_ops {
	int (*call)(void);
};

u64 starts;

SEC("struct_ops/undo_cwnd")
u32 cc_undo(u64 *context)
{
	return 10;
}

SEC("struct_ops/init")
int cc_init(u64 *context)
{
	__sync_fetch_and_add(&starts, 1);
	return 0;
}

SEC("struct_ops/ssthresh")
u32 cc_ssthresh(u64 *context)
{
	return 4;
}

SEC("struct_ops/cong_avoid")
int cc_avoid(u64 *context)
{
	return 0;
}

SEC("struct_ops/call")
int cc_call(u64 *context)
{
	return 0;
}

SEC("struct_ops/never_had_this")
int cc_never(u64 *context)
{
	return 0;
}

SEC("struct_ops")
int cc_unused(u64 *context)
{
	return 0;
}

SEC(".struct_ops")
struct tcp_congestion_ops by_update = {
	.undo_cwnd = (void *)cc_undo,
	.init = (void *)cc_init,
	.ssthresh = (void *)cc_ssthresh,
	.cong_avoid = (void *)cc_avoid,
	.name = "ldr_by_update",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops by_link = {
	.undo_cwnd = (void *)cc_undo,
	.init = (void *)cc_init,
	.ssthresh = (void *)cc_ssthresh,
	.cong_avoid = (void *)cc_avoid,
	.name = "ldr_by_link",
};

SEC("?.struct_ops.link")
struct tcp_congestion_ops lacks_member = {
	.ssthresh = (void *)cc_ssthresh,
	.never_had_this = (void *)cc_never,
};

SEC("?.struct_ops.link")
struct tcp_congestion_ops___other other_member = {
	.ssthresh = (void *)cc_ssthresh,
};

SEC("?.struct_ops")
struct no_such_ops lacks_struct = {
	.call = (void *)cc_call,
};
