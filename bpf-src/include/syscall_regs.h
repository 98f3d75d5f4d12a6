/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What registers tell: which system call a task comes back from and what its arguments were, from those it entered the
 * kernel with; arguments and result of a kernel function, from those of a kprobe or kretprobe.
 *
 * In: struct pt_regs, as the tracepoint sys_exit or a kprobe hands it over. Out: the number and the arguments. The kernel leaves the
 * argument registers alone until it returns to user space, but for the one that takes the result, of which it
 * keeps a copy. 32-bit callers have numbers, and on x86 registers, of their own.
 * To add an architecture: its registers, its numbers, its mark of a 32-bit caller. Without, HAVE_SYSCALL_REGS is not defined.
 */
#ifndef SYSCALL_REGS_H
#define SYSCALL_REGS_H

#include "core_read.h"
#include "kernel.h"

/* A field of the current task's thread_info, without a helper that reads if the kernel has a typed task. */
#define CURRENT_THREAD_INFO(field)                                                                                     \
	(core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)                                       \
		 ? ((struct task_struct *)bpf_get_current_task_btf())->thread_info.field                               \
		 : core_get((struct task_struct *)bpf_get_current_task(), thread_info.field))

#define RELOCATED __attribute__((preserve_access_index))

/* First argument of socketcall(2), by which the C libraries of some architectures (s390x) make all calls on sockets. */
enum {
	SOCKETCALL_CONNECT = 3,
	SOCKETCALL_ACCEPT = 5,
	SOCKETCALL_RECV = 10,
	SOCKETCALL_RECVFROM = 12,
	SOCKETCALL_RECVMSG = 17,
	SOCKETCALL_ACCEPT4 = 18,
	SOCKETCALL_RECVMMSG = 19,
};

#if defined(__TARGET_ARCH_x86)
#define HAVE_SYSCALL_REGS
#define TS_COMPAT 2 /* thread_info.status */

struct pt_regs {
	unsigned long ax;
	unsigned long r10;
	unsigned long r8;
	unsigned long bx;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
} RELOCATED;

#define SYSCALL_NUMBER(regs) ((u32)(regs)->orig_ax & ~0x40000000U) /* x32 callers set that bit */
#define IS_32BIT() (CURRENT_THREAD_INFO(status) & TS_COMPAT)
#define ARGUMENT_0(regs) ((regs)->di)
#define ARGUMENT_1(regs) ((regs)->si)
#define ARGUMENT_2(regs) ((regs)->dx)
#define ARGUMENT_3(regs) ((regs)->r10)
#define ARGUMENT_4(regs) ((regs)->r8)
#define FUNCTION_ARGUMENT_0(regs) ((regs)->di)
#define FUNCTION_ARGUMENT_1(regs) ((regs)->si)
#define FUNCTION_RESULT(regs) ((regs)->ax)
#define ARGUMENT_0_32(regs) ((regs)->bx)
#define ARGUMENT_1_32(regs) ((regs)->cx)
#define ARGUMENT_2_32(regs) ((regs)->dx)
#define ARGUMENT_3_32(regs) ((regs)->si)
enum { NR_OPEN = 2, NR_CREAT = 85, NR_OPENAT = 257, NR_OPENAT2 = 437 };
enum { NR32_OPEN = 5, NR32_CREAT = 8, NR32_OPENAT = 295 };
enum { NR_READ = 0, NR_READV = 19, NR_RECVFROM = 45, NR_RECVMSG = 47, NR_RECVMMSG = 299, NR_SOCKETCALL = -1 };

#elif defined(__TARGET_ARCH_arm64)
#define HAVE_SYSCALL_REGS
#define TIF_32BIT 22 /* thread_info.flags */

struct pt_regs {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
} RELOCATED;

/* Their parameter may not be called like the member. */
#define SYSCALL_NUMBER(from) ((u32)(from)->syscallno)
#define IS_32BIT() (CURRENT_THREAD_INFO(flags) & (1UL << TIF_32BIT))
#define ARGUMENT_0(from) ((from)->orig_x0)
#define ARGUMENT_1(from) ((from)->regs[1])
#define ARGUMENT_2(from) ((from)->regs[2])
#define ARGUMENT_3(from) ((from)->regs[3])
#define ARGUMENT_4(from) ((from)->regs[4])
#define FUNCTION_ARGUMENT_0(from) ((from)->regs[0])
#define FUNCTION_ARGUMENT_1(from) ((from)->regs[1])
#define FUNCTION_RESULT(from) ((from)->regs[0])
#define ARGUMENT_0_32(from) ARGUMENT_0(from)
#define ARGUMENT_1_32(from) ARGUMENT_1(from)
#define ARGUMENT_2_32(from) ARGUMENT_2(from)
#define ARGUMENT_3_32(from) ARGUMENT_3(from)
/* There is neither open nor creat. */
enum { NR_OPEN = -1, NR_CREAT = -2, NR_OPENAT = 56, NR_OPENAT2 = 437 };
enum { NR32_OPEN = 5, NR32_CREAT = 8, NR32_OPENAT = 322 };
enum { NR_READ = 63, NR_READV = 65, NR_RECVFROM = 207, NR_RECVMSG = 212, NR_RECVMMSG = 243, NR_SOCKETCALL = -1 };

#elif defined(__TARGET_ARCH_s390)
#define HAVE_SYSCALL_REGS

struct pt_regs {
	unsigned long gprs[16];
	unsigned long orig_gpr2;
	u32 int_code;
} RELOCATED;

#define SYSCALL_NUMBER(regs) ((regs)->int_code & 0xffff)
/* 31-bit callers have the same numbers and registers. */
#define IS_32BIT() false
#define ARGUMENT_0(regs) ((regs)->orig_gpr2)
#define ARGUMENT_1(regs) ((regs)->gprs[3])
#define ARGUMENT_2(regs) ((regs)->gprs[4])
#define ARGUMENT_3(regs) ((regs)->gprs[5])
#define ARGUMENT_4(regs) ((regs)->gprs[6])
#define FUNCTION_ARGUMENT_0(regs) ((regs)->gprs[2])
#define FUNCTION_ARGUMENT_1(regs) ((regs)->gprs[3])
#define FUNCTION_RESULT(regs) ((regs)->gprs[2])
#define ARGUMENT_0_32(regs) ARGUMENT_0(regs)
#define ARGUMENT_1_32(regs) ARGUMENT_1(regs)
#define ARGUMENT_2_32(regs) ARGUMENT_2(regs)
#define ARGUMENT_3_32(regs) ARGUMENT_3(regs)
enum { NR_OPEN = 5, NR_CREAT = 8, NR_OPENAT = 288, NR_OPENAT2 = 437 };
enum { NR32_OPEN = 5, NR32_CREAT = 8, NR32_OPENAT = 288 };
enum { NR_READ = 3, NR_READV = 145, NR_RECVFROM = 371, NR_RECVMSG = 372, NR_RECVMMSG = 357, NR_SOCKETCALL = 102 };
#endif

#endif
