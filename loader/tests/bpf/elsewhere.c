// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A hook of the running kernel, and a field that only a file of types has. */

#include "test.h"

struct of_the_file {
	int field;
} __attribute__((preserve_access_index));

SEC("iter/task")
int fitted(void *context)
{
	struct of_the_file *object = 0;

	/* BPF_FIELD_EXISTS. If it does not, what follows is no dead code for the verifier, and no helper has that number. */
	if (!__builtin_preserve_field_info(object->field, 2))
		((void (*)(void))123456)();
	return 0;
}
