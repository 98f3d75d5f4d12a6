/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a BPF program file needs before it can say anything: integer types, section and map macros, and the kernel
 * helpers we call, each with the kernel that brought it. Nothing newer than 5.10 may be called without a guard.
 * Reading kernel structures is in core_read.h, the structures themselves in kernel.h.
 */
#ifndef HELPERS_H
#define HELPERS_H

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef short s16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;
typedef _Bool bool;

#define true ((bool)1)
#define false ((bool)0)
#define NULL ((void *)0)

/* The section name tells the loader the program type and the attach target; a leading '?' means "load only when asked". */
#define SEC(name) __attribute__((section(name), used))
#define ALWAYS_INLINE static inline __attribute__((always_inline))
/*
 * A function with external linkage is verified once, on its own, for any arguments (5.6); at each call the verifier only
 * notes "some number comes back". A loop whose body is such a call costs the verifier three instructions a round instead
 * of hundreds, so long loops load in no time, also where bpf_loop (5.17) does not exist. The price: arguments and result
 * are numbers, so state between rounds lives in a map value.
 */
#define VERIFIED_ALONE __attribute__((noinline))

/* What one step of a loop says. */
enum step { STEP_MORE, STEP_END, STEP_CUT, STEP_FAULT };

/*
 * Calls a VERIFIED_ALONE function until it says something else than STEP_MORE, at most `rounds` times; the last it said.
 * The whole body of a VERIFIED_ALONE function: each way out of the loop is then two instructions for the verifier and not
 * the rest of the program. A long loop is a loop of loops: the verifier's work is the sum of the rounds, not their product.
 */
#define repeat_step(rounds, call)                                                                                      \
	({                                                                                                             \
		int step = STEP_MORE;                                                                                  \
		for (u32 round = 0; round < (rounds) && step == STEP_MORE; round++)                                    \
			step = call;                                                                                   \
		step;                                                                                                  \
	})

/* One copy in the object for all the programs that call it; the verifier goes through it with each. */
#define OUT_OF_LINE static __attribute__((noinline))

/* BTF-defined maps: each attribute is a member whose type holds the value. */
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

/* Map types, as the kernel numbers them. */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_RINGBUF 27

#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_F_NO_PREALLOC 1

/* bpf_ringbuf_output flags and bpf_ringbuf_query questions (5.8). */
#define BPF_RB_NO_WAKEUP 1ULL
#define BPF_RB_FORCE_WAKEUP 2ULL
#define BPF_RB_AVAIL_DATA 0ULL

/* Helper numbers are kernel ABI: a constant address is how clang writes "call helper N". */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
/* tgid << 32 | pid, in the initial pid namespace */
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
/* gid << 32 | uid, real ids in the initial user namespace */
static u64 (*const bpf_get_current_uid_gid)(void) = (void *)15;
static long (*const bpf_get_current_comm)(void *buf, u32 size) = (void *)16;
/* address of the current task as a plain number: read it with probe_read only */
static u64 (*const bpf_get_current_task)(void) = (void *)35;
/* 4.18: kernfs id of the task's cgroup in the v2 hierarchy */
static u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
/* 5.14 in tracing programs: the same of its ancestor at a level, the root has level 0; 0 if there is none */
static u64 (*const bpf_get_current_ancestor_cgroup_id)(int level) = (void *)123;
/*
 * 5.5: the four readers. They never sleep; where memory is not present they fail and zero the destination. The _str ones
 * return the length with the NUL, or a negative number; the user one returns 0 for an empty string on some kernels (5.10).
 */
static long (*const bpf_probe_read_user)(void *dst, u32 size, const void *src) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *dst, u32 size, const void *src) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *dst, u32 size, const void *src) = (void *)115;
/* 5.11, ask with core_enum_value_exists first: the current task, to be read without a helper */
static void *(*const bpf_get_current_task_btf)(void) = (void *)158;
/* 5.15, ask likewise: the registers that a task entered the kernel with */
static void *(*const bpf_task_pt_regs)(void *task) = (void *)175;
/* 5.8: nanoseconds of CLOCK_BOOTTIME */
static u64 (*const bpf_ktime_get_boot_ns)(void) = (void *)125;
/* 5.8 */
static long (*const bpf_ringbuf_output)(void *ring, const void *data, u64 size, u64 flags) = (void *)130;
static u64 (*const bpf_ringbuf_query)(void *ring, u64 question) = (void *)134;

#endif
