// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs that do nothing, on the hooks of the tracers: what a hook costs before a program does anything. Nothing that
 * uses these hooks can be cheaper.
 */

#define SEC(name) __attribute__((section(name), used))

SEC("tp_btf/sched_process_exec")
int empty_exec(void *ctx)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int empty_sys_exit(void *ctx)
{
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int empty_openat(void *ctx)
{
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int empty_state(void *ctx)
{
	return 0;
}

SEC("fexit/do_sys_openat2")
int empty_fexit(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
