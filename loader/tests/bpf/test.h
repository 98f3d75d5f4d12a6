/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The few definitions that the loader's test programs share. They are compiled, never loaded. */
#ifndef TEST_H
#define TEST_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;

#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define KCONFIG __attribute__((section(".kconfig")))
#define KSYM __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))
#define HIDDEN __attribute__((visibility("hidden")))

#define __uint(name, val) int(*name)[val]
#define __type(name, val) __typeof__(val) *name
#define __array(name, val) __typeof__(val) *name[]

/* In a program that checks itself: returns the line of what does not hold. */
#define CHECK(condition)                 \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_loop)(u32 count, void *callback, void *context, u64 flags) = (void *)181;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
