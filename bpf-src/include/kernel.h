/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel structures we read, reduced to the fields we read. Offsets and sizes here mean nothing: each access is
 * relocated to the running kernel's layout by name, and a name may lie inside anonymous members there. Only names,
 * and whether a field is an integer, pointer, array or structure, must be right.
 *
 * A suffix of three underscores and a word is a flavour: another layout of the same kernel structure, dropped by the
 * loader when it matches names. Which flavour the kernel has is asked with core_field_exists.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include "helpers.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	const u8 *name;
};

struct dentry {
	struct dentry *d_parent; /* itself at the root of a file system */
	struct qstr d_name; /* 6.16+: in an anonymous union */
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent; /* itself for the root of the namespace */
	struct dentry *mnt_mountpoint; /* in the parent */
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
};

struct fdtable {
	u32 max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct mm_struct {
	unsigned long arg_start; /* argv[0], argv[1]... one after the other, each with its NUL */
	unsigned long arg_end;
	struct file *exe_file;
};

struct ns_common {
	u32 inum;
};

/* 6.18+: an id that no other namespace gets until the next boot */
struct ns_common___with_id {
	u64 ns_id;
};

struct mnt_namespace {
	struct ns_common ns;
};

/* up to 6.17: the same, for mount namespaces only */
struct mnt_namespace___with_seq {
	u64 seq;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct cgroup;

struct kernfs_node {
	u64 id;
};

/* ancestors[level] is the cgroup itself, ancestors[0] the root */
struct cgroup {
	s32 level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[]; /* 6.1+ */
};

struct cgroup___with_ids {
	s32 level;
	u64 ancestor_ids[]; /* 5.5 to 6.0; the same indices */
};

struct css_set {
	struct cgroup *dfl_cgrp; /* in the v2 hierarchy */
};

struct atomic {
	s32 counter;
};

struct signal_struct {
	struct atomic live; /* threads that have not begun to exit */
};

struct thread_info {
	unsigned long flags;
	u32 status; /* x86 */
};

struct task_struct {
	struct thread_info thread_info;
	s32 tgid;
	struct signal_struct *signal;
	struct task_struct *real_parent;
	struct mm_struct *mm;
	struct fs_struct *fs; /* NULL once the task exits */
	struct files_struct *files; /* likewise */
	struct nsproxy *nsproxy; /* likewise */
	struct css_set *cgroups;
	u8 comm[16];
};

struct linux_binprm {
	s32 argc;
	const char *filename; /* as given, or fdpath */
	const char *interp; /* another pointer than filename once a script or binfmt_misc handler took over */
	const char *fdpath; /* /dev/fd/N or /dev/fd/N/PATH: execveat with a directory or a file descriptor */
};

/* The third argument of openat2(2); inside the kernel that of all opens. */
struct open_how {
	u64 flags;
	u64 mode;
	u64 resolve;
};

struct filename {
	const char *name; /* in kernel memory */
};

struct io_cqe {
	s32 res;
};

/* A request of io_uring; its first bytes are those of the operation, such as struct io_open. */
struct io_kiocb {
	struct io_cqe cqe; /* 5.19+ */
};

struct io_open {
	s32 dfd;
	u32 file_slot; /* not 0: into the ring's own table of files */
	struct filename *filename;
	struct open_how how;
};

struct delayed_filename {
	struct filename *__incomplete_filename; /* whole but for what audit needs */
};

/* 7.0+ */
struct io_open___delayed {
	struct delayed_filename filename;
};

/* One of the helpers of the running kernel, to ask whether it is there. */
enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_task_pt_regs = 175,
};

struct trace_event_raw_sys_enter {
	unsigned long args[6];
};

struct trace_event_raw_sys_exit {
	long id; /* the number of the call: exit_number() reads it */
	long ret;
};

#pragma clang attribute pop

#endif
