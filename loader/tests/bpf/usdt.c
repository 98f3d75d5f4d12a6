/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program that takes the arguments of a static probe out of libbpf's tables, as bpf_usdt_arg() does. */
#include "test.h"

typedef unsigned short u16;

static long (*const bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static u64 (*const bpf_get_attach_cookie)(void *context) = (void *)174;

enum { CONSTANT, IN_REGISTER, IN_MEMORY, INDEXED };

/* Names and layout are libbpf's (1.7); the program and the loader only share what the types say. */
struct __bpf_usdt_arg_spec {
	u64 val_off;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	u32 arg_type : 8;
	u16 idx_reg_off : 12;
	u16 scale_bitshift : 4;
	u8 reserved : 8;
#else
	u8 reserved : 8;
	u16 idx_reg_off : 12;
	u16 scale_bitshift : 4;
	u32 arg_type : 8;
#endif
	short reg_off;
	_Bool arg_signed;
	char arg_bitshift;
};

#define ARGUMENTS 12

struct __bpf_usdt_spec {
	struct __bpf_usdt_arg_spec args[ARGUMENTS];
	u64 usdt_cookie;
	short arg_cnt;
};

struct {
	__uint(type, 2);
	__uint(max_entries, 3);
	__type(key, int);
	__type(value, struct __bpf_usdt_spec);
} __bpf_usdt_specs SEC(".maps");

struct {
	__uint(type, 1);
	__uint(max_entries, 64);
	__type(key, long);
	__type(value, u32);
} __bpf_usdt_ip_to_spec_id SEC(".maps");

extern _Bool LINUX_HAS_BPF_COOKIE KCONFIG;

u64 hits;
u64 cookies;
u64 argument_count;
u64 arguments[ARGUMENTS];

static u64 argument(void *context, struct __bpf_usdt_arg_spec *spec)
{
	u64 value = 0, index = 0;

	if (spec->arg_type != CONSTANT)
		bpf_probe_read_kernel(&value, sizeof(value), context + spec->reg_off);
	if (spec->arg_type == INDEXED) {
		bpf_probe_read_kernel(&index, sizeof(index), context + spec->idx_reg_off);
		value += index << spec->scale_bitshift;
	}
	if (spec->arg_type == CONSTANT)
		value = spec->val_off;
	else if (spec->arg_type != IN_REGISTER)
		bpf_probe_read_user(&value, sizeof(value), (void *)(value + spec->val_off));
	value <<= spec->arg_bitshift & 63;
	if (spec->arg_signed)
		return (long long)value >> (spec->arg_bitshift & 63);
	return value >> (spec->arg_bitshift & 63);
}

SEC("usdt")
int take(void *context)
{
	struct __bpf_usdt_spec *spec;
	u32 id;

	if (LINUX_HAS_BPF_COOKIE) {
		id = bpf_get_attach_cookie(context);
	} else {
		/* The instruction pointer of x86-64. */
		long address = *(long *)(context + 128);
		u32 *known = bpf_map_lookup_elem(&__bpf_usdt_ip_to_spec_id, &address);

		if (!known)
			return 0;
		id = *known;
	}
	spec = bpf_map_lookup_elem(&__bpf_usdt_specs, &id);
	if (!spec)
		return 0;
	__sync_fetch_and_add(&hits, 1);
	__sync_fetch_and_add(&cookies, spec->usdt_cookie);
	argument_count = spec->arg_cnt;
#pragma unroll
	for (int i = 0; i < ARGUMENTS; i++)
		if (i < spec->arg_cnt)
			arguments[i] = argument(context, &spec->args[i]);
	return 0;
}
