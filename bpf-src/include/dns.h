/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * DNS answers that tasks receive: what comes from port 53 by UDP or TCP, as the task has it in its memory.
 *
 * In: the return of a call that received something, in the task that called. Out: records in `events` beside those of the
 * tool: who received it, and its bytes. Nothing is parsed here; that is for user space, which does it safely.
 *   fexit/inet_recvmsg, inet6_recvmsg     every way to receive, io_uring too; only what receives from the network pays
 *   tp_btf/sys_exit                       read, readv, recvfrom, recvmsg, recvmmsg of 64-bit programs; each system call of the
 *                                         host pays a little
 *
 * What they miss is listed in tcpconnect.bpf.c.
 */
#ifndef DNS_H
#define DNS_H

#include "core_read.h"
#include "event.h"
#include "filter.h"
#include "inet.h"
#include "sock.h"
#include "syscall_regs.h"

#define KIND_ANSWER 4
#define DNS_PORT 53
#define ANSWER_LEAST 12 /* bytes: the header of a message */
#define ANSWER_SIZE 4096 /* bytes kept of one call: what resolvers ask for at the most, RFC 6891 */
#define PREFIX_SIZE 2 /* TCP: the length of the message, before it or before the rest of it */

/* 88 bytes, then data. */
struct dns_answer {
	struct event_header header; /* who received it, and when */
	u32 netns; /* of the socket */
	u32 size; /* bytes received */
	u32 len; /* bytes of data; less than size if there is more */
	u32 stream; /* by TCP: the bytes may begin with a length, or anywhere */
};

_Static_assert(sizeof(struct dns_answer) == 88, "user space reads this layout");

struct dns_scratch {
	struct dns_answer answer;
	u8 data[ANSWER_SIZE];
};

/*
 * A slot for each program: those of fexit may interrupt each other on a CPU, see open_record.h. The loader makes the map
 * that large if answers are wanted.
 */
enum dns_slot { DNS_SLOT_INET, DNS_SLOT_INET6, DNS_SLOT_SYSCALL };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct dns_scratch);
} answers SEC(".maps");

/* Sends `size` bytes that the current task has received at `data`, of which there is room for `room`, if it is wanted. */
ALWAYS_INLINE void send_answer(struct sock *sk, u32 slot, const void *data, u64 size, u64 room)
{
	struct dns_scratch *buffer = bpf_map_lookup_elem(&answers, &slot);
	struct dns_answer *answer;
	u32 netns = core_get(core_get(sk, __sk_common.skc_net.net), ns.inum);
	u64 length = size < room ? size : room;

	if (!buffer || size < ANSWER_LEAST || (filter_netns && netns != filter_netns))
		return;
	answer = &buffer->answer;
	if (!wanted(&answer->header))
		return;
	stamp(&answer->header, KIND_ANSWER);
	answer->netns = netns;
	answer->size = (u32)size;
	answer->stream = core_get(sk, sk_protocol) == IPPROTO_TCP;
	forget_range(length);
	if (length > ANSWER_SIZE)
		length = ANSWER_SIZE;
	answer->len = (u32)length;
	if (bpf_probe_read_user(buffer->data, (u32)length, data))
		return;
	forget_range(length);
	if (length > ANSWER_SIZE)
		return;
	send(&events, answer, sizeof(*answer) + length);
}

/*
 * Whether a socket receives from a resolver: it is connected to one, or (`family_port`, the start of a struct sockaddr)
 * the datagram is from one.
 */
ALWAYS_INLINE bool is_from_resolver(struct sock *sk, u32 family_port)
{
	u16 family = core_get(sk, __sk_common.skc_family);
	u16 protocol = core_get(sk, sk_protocol);
	u16 port = core_get(sk, __sk_common.skc_dport);
	const u16 *name = (const u16 *)&family_port;

	if ((family != AF_INET && family != AF_INET6) || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return false;
	if (!port && protocol == IPPROTO_UDP)
		port = name[1];
	return port == swap16(DNS_PORT);
}

/* ---- fexit ------------------------------------------------------------------------------------------------------ */

ALWAYS_INLINE struct iovec *piece_of(struct iov_iter *iter)
{
	if (core_field_exists(struct iov_iter, __iov))
		return core_get(iter, __iov);
	return core_get((struct iov_iter___older *)iter, iov);
}

ALWAYS_INLINE u64 type_of(struct iov_iter *iter)
{
	if (core_field_exists(struct iov_iter, iter_type))
		return core_get(iter, iter_type);
	return core_get((struct iov_iter___older *)iter, type) & ~1U;
}

/* Where the last `*size` bytes are that the iterator has gone over, or as many of them as are in one piece; NULL if that is
 * not in user memory. */
ALWAYS_INLINE const u8 *received_at(struct iov_iter *iter, u64 *size)
{
	u64 offset = core_get(iter, iov_offset);
	struct iovec *piece;

	if (core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	    type_of(iter) == core_enum_value(enum iter_type, ITER_UBUF))
		return offset < *size ? NULL : core_get(iter, ubuf) + (offset - *size);
	if (type_of(iter) != core_enum_value(enum iter_type, ITER_IOVEC))
		return NULL;
	piece = piece_of(iter);
	if (!offset) {
		/* The piece before is full. */
		piece--;
		offset = core_get(piece, iov_len);
	}
	if (offset < *size && *size - offset != PREFIX_SIZE)
		return NULL;
	if (offset < *size)
		*size = offset;
	return core_get(piece, iov_base) + (offset - *size);
}

ALWAYS_INLINE int exit_receive(const u64 *ctx, u32 slot)
{
	/* arguments: the socket, the message, its size, flags; then the number of bytes */
	struct sock *sk = core_get((struct socket *)ctx[0], sk);
	struct msghdr *message = (struct msghdr *)ctx[1];
	s32 ret = (s32)ctx[4];
	u32 family_port = 0;
	const u8 *data;
	u64 size;

	if (ret < ANSWER_LEAST || !ids_wanted())
		return 0;
	bpf_probe_read_kernel(&family_port, sizeof(family_port), core_get(message, msg_name));
	if (!is_from_resolver(sk, family_port))
		return 0;
	size = (u32)ret;
	data = received_at(core_address(message, msg_iter), &size);
	if (data)
		send_answer(sk, slot, data, size, size);
	return 0;
}

SEC("?fexit/inet_recvmsg")
int exit_recv_inet(const u64 *ctx)
{
	return exit_receive(ctx, DNS_SLOT_INET);
}

SEC("?fexit/inet6_recvmsg")
int exit_recv_inet6(const u64 *ctx)
{
	return exit_receive(ctx, DNS_SLOT_INET6);
}

/* ---- each return from a system call ----------------------------------------------------------------------------- */

#ifdef HAVE_SYSCALL_REGS
/* struct user_msghdr of 64-bit programs, without what does not matter. */
struct message_header {
	u64 name;
	u32 name_len;
	u32 pad;
	u64 pieces;
	u64 piece_count;
};

#define MMSG_STRIDE 64 /* sizeof(struct mmsghdr) */
#define MMSG_LENGTH 56 /* offset of its length */
#define MMSG_MOST 8 /* messages of one call that are looked at */

ALWAYS_INLINE u32 family_port_at(u64 name)
{
	u32 family_port = 0;

	if (name)
		bpf_probe_read_user(&family_port, sizeof(family_port), (const void *)name);
	return family_port;
}

/* What was received into pieces of memory. */
ALWAYS_INLINE void send_pieces(struct sock *sk, u64 pieces, u64 count, u64 size)
{
	u64 piece[2] = {}; /* struct iovec */

	if (!count || bpf_probe_read_user(piece, sizeof(piece), (const void *)pieces))
		return;
	if (piece[1] == PREFIX_SIZE && count > 1 && size > PREFIX_SIZE) {
		if (bpf_probe_read_user(piece, sizeof(piece), (const void *)(pieces + sizeof(piece))))
			return;
		size -= PREFIX_SIZE;
	}
	send_answer(sk, DNS_SLOT_SYSCALL, (const void *)piece[0], size, piece[1]);
}

/* The message whose header is at this address of the current task. */
VERIFIED_ALONE int take_message(u64 sk, u64 address, u64 size)
{
	struct message_header header = {};

	if (bpf_probe_read_user(&header, sizeof(header), (const void *)address))
		return 0;
	if (is_from_resolver((struct sock *)sk, family_port_at(header.name)))
		send_pieces((struct sock *)sk, header.pieces, header.piece_count, size);
	return 0;
}

VERIFIED_ALONE int take_messages(u64 sk, u64 address, u64 count)
{
	for (u64 i = 0; i < MMSG_MOST && i < count; i++) {
		u64 at = address + i * MMSG_STRIDE;
		u32 size = 0;

		bpf_probe_read_user(&size, sizeof(size), (const void *)(at + MMSG_LENGTH));
		take_message(sk, at, size);
	}
	return 0;
}

/* A call that received something, and its arguments that matter. */
struct receiving {
	u32 number;
	u32 fd;
	u64 to; /* where: memory, pieces of it, or headers of messages */
	u64 room; /* how many bytes, pieces or messages */
	u64 name; /* where the sender's address was put, or 0 */
};

ALWAYS_INLINE bool receives(u32 number, s64 ret)
{
	if (number == (u32)NR_RECVMMSG || number == (u32)NR_SOCKETCALL)
		return ret > 0;
	return ret >= ANSWER_LEAST && (number == (u32)NR_READ || number == (u32)NR_RECVFROM ||
				       number == (u32)NR_RECVMSG || number == (u32)NR_READV);
}

/* The call that socketcall(2) was asked to make, with its arguments from memory; number 0 if that does not receive. */
ALWAYS_INLINE void unpack_socketcall(struct receiving *call)
{
	const u64 *from = (const u64 *)call->to;
	u32 made = call->fd;
	u64 arguments[3]; /* all have as many */

	call->number = 0;
	call->name = 0;
	if (bpf_probe_read_user(arguments, sizeof(arguments), from))
		return;
	if (made == SOCKETCALL_RECV || made == SOCKETCALL_RECVFROM)
		call->number = (u32)NR_RECVFROM;
	else if (made == SOCKETCALL_RECVMSG)
		call->number = (u32)NR_RECVMSG;
	else if (made == SOCKETCALL_RECVMMSG)
		call->number = (u32)NR_RECVMMSG;
	if (made == SOCKETCALL_RECVFROM)
		bpf_probe_read_user(&call->name, sizeof(call->name), from + 4);
	call->fd = (u32)arguments[0];
	call->to = arguments[1];
	call->room = arguments[2];
}

ALWAYS_INLINE int take_answer(const struct receiving *call, s64 ret)
{
	struct socket *socket = socket_of(call->fd);
	struct sock *sk;

	if (!socket)
		return 0;
	sk = core_get(socket, sk);
	if (call->number == (u32)NR_RECVMSG)
		return take_message((u64)sk, call->to, (u64)ret);
	if (call->number == (u32)NR_RECVMMSG)
		return take_messages((u64)sk, call->to, (u64)ret);
	if (!is_from_resolver(sk, family_port_at(call->name)))
		return 0;
	if (call->number == (u32)NR_READV)
		send_pieces(sk, call->to, call->room, (u64)ret);
	else
		send_answer(sk, DNS_SLOT_SYSCALL, (const void *)call->to, (u64)ret, call->room);
	return 0;
}

SEC("?tp_btf/sys_exit")
int exit_receiving(const u64 *ctx)
{
	const struct pt_regs *regs = (const struct pt_regs *)ctx[0];
	struct receiving call = {.number = SYSCALL_NUMBER(regs)};
	s64 ret = (s64)ctx[1];

	if (!receives(call.number, ret) || !ids_wanted() || IS_32BIT())
		return 0;
	call.fd = (u32)ARGUMENT_0(regs);
	call.to = ARGUMENT_1(regs);
	call.room = ARGUMENT_2(regs);
	call.name = call.number == (u32)NR_RECVFROM ? ARGUMENT_4(regs) : 0;
	if (call.number == (u32)NR_SOCKETCALL) {
		unpack_socketcall(&call);
		if (!receives(call.number, ret))
			return 0;
	}
	return take_answer(&call, ret);
}
#endif

#endif
