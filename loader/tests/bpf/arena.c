/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Variables in an arena, which programs and user space share. Casts between address spaces, which compilers before clang 19
 * do not know, are written out: a pointer of the arena becomes one of the kernel before it is used.
 */
#include "test.h"

#define BPF_MAP_TYPE_ARENA 33
#define BPF_F_MMAPABLE 1024

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8);
} arena SEC(".maps");

u64 counter SEC(".addr_space.1") = 40;
u32 limit SEC(".addr_space.1") = 7;

/* `bpf_addr_space_cast(pointer, 0, 1)`: a move with offset 1 and the two spaces in the immediate. */
static inline void *in_kernel(void *pointer)
{
	register void *cast asm("r1") = pointer;

	asm volatile(".byte 0xbf, 0x11\n.short 1\n.long 1\n" : "+r"(cast));
	return cast;
}

SEC("socket") int count(void *context)
{
	u64 *number = in_kernel(&counter);

	*number += 2;
	return *(u32 *)in_kernel(&limit);
}
