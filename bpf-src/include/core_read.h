/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading kernel structures whose layout is learnt at load time.
 *
 * In: pointers to the structures of kernel.h. Out: their fields, wherever the running kernel keeps them: clang writes
 * a CO-RE relocation for each access, the loader replaces it by the offset of the running kernel.
 * A read through a bad pointer, NULL included, gives zero: chains need no checks in between.
 */
#ifndef CORE_READ_H
#define CORE_READ_H

#include "helpers.h"

/* The address of a field, without reading it: the structures' preserve_access_index makes it a relocated offset. */
#define core_address(ptr, field) (&(ptr)->field)

/* Copies a field (an array too) to dst; 0, or -EFAULT and a zeroed dst. */
#define core_read_into(dst, ptr, field) bpf_probe_read_kernel((dst), sizeof((ptr)->field), core_address(ptr, field))

/* The value of a field; 0 when it cannot be read. */
#define core_get(ptr, field)                                                                                           \
	({                                                                                                             \
		typeof((ptr)->field) value_;                                                                           \
		core_read_into(&value_, ptr, field);                                                                   \
		value_;                                                                                                \
	})

/* Known when the program is loaded: the verifier does not even look at the branch that is not taken. */
#define FIELD_EXISTS 2
#define core_field_exists(type, field) ((bool)__builtin_preserve_field_info(((type *)0)->field, FIELD_EXISTS))
#define core_enum_value_exists(type, value) ((bool)__builtin_preserve_enum_value(*(type *)value, 0))
/* The number that the running kernel has for it. */
#define core_enum_value(type, value) ((u64)__builtin_preserve_enum_value(*(type *)value, 1))
#define FIELD_BYTE_OFFSET 0
#define core_field_offset(type, field) ((u64)__builtin_preserve_field_info(((type *)0)->field, FIELD_BYTE_OFFSET))

/*
 * Keeps the compiler from proving a bound check useless. Kernels before 5.11 forget the range of a number that was
 * spilled to the stack, so the check must be in the code right before each use, even where C knows better.
 */
#define forget_range(number) asm volatile("" : "+r"(number))

/*
 * A number kept in a map value, read and written there each time. The verifier knows nothing about it, and so finds all
 * ways through a loop's body alike; a number in a register doubles its work at each step for each branch.
 */
#define in_memory(number) (*(volatile typeof(number) *)&(number))

#endif
