/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Variables of which each CPU has its own copy (Linux 7.3): libbpf's sections `.percpu` and `.percpu.NAME`. */
#include "test.h"

u64 lost SEC(".percpu") = 2;
u32 step SEC(".percpu") = 5;
u32 runs SEC(".percpu.runs");
static const u32 bonus SEC(".percpu.bonus") = 100;
u64 shared = 1;

SEC("socket") int count(void *context)
{
	lost += step;
	runs++;
	return runs + *(volatile const u32 *)&bonus;
}

SEC("socket") int needs_none(void *context)
{
	return ++shared;
}
