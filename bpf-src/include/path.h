/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The path of an open file, as its task would write it.
 *
 * In: a struct path (of an open file, a working directory) and the task's root. Out: the components from the leaf to the
 * root, each with its NUL, in a buffer: writing it the way we walk costs one pass; user space turns it round.
 * A file that has no place in the tree (memfd) gives its own name only; a deleted file the name it had.
 * bpf_d_path would do this, but is allowed in a handful of functions only.
 */
#ifndef PATH_H
#define PATH_H

#include "core_read.h"
#include "kernel.h"

/* Cubed: components and mount points together. Each round is the verifier's work at every start. */
#ifndef PATH_ROUNDS
#define PATH_ROUNDS 7
#endif
#define COMPONENT_SIZE 256 /* NAME_MAX and the NUL */

struct path_walk {
	struct path root; /* where to stop */
	struct vfsmount *mnt;
	struct dentry *dentry;
	bool begun;
};

/* The mount that contains this vfsmount. */
ALWAYS_INLINE struct mount *mount_of(struct vfsmount *mnt)
{
	return (struct mount *)((u64)mnt - core_field_offset(struct mount, mnt));
}

/* The file behind a descriptor of the current task, or NULL. */
ALWAYS_INLINE struct file *file_of(u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = core_get(core_get(task, files), fdt);
	struct file *file = NULL;

	if (fd < core_get(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), core_get(table, fd) + fd);
	return file;
}

ALWAYS_INLINE void walk_from(struct path_walk *walk, struct task_struct *task, struct path *path)
{
	struct fs_struct *fs = core_get(task, fs);
	struct path *root = core_address(fs, root);

	walk->root.mnt = core_get(root, mnt);
	walk->root.dentry = core_get(root, dentry);
	walk->mnt = core_get(path, mnt);
	walk->dentry = core_get(path, dentry);
	walk->begun = false;
}

/* One step towards the root. True: `name` is the next component, or NULL if a mount point was crossed. False: the end. */
ALWAYS_INLINE bool walk_up(struct path_walk *walk, const u8 **name)
{
	struct dentry *dentry = walk->dentry;
	struct dentry *parent;
	bool first = !walk->begun;

	walk->begun = true;
	*name = NULL;
	if (!dentry || (dentry == walk->root.dentry && walk->mnt == walk->root.mnt))
		return false;
	if (dentry == core_get(walk->mnt, mnt_root)) {
		struct mount *mount = mount_of(walk->mnt);
		struct mount *above = core_get(mount, mnt_parent);

		if (!above || above == mount)
			return false; /* the root of the namespace: the file lies outside the task's own root */
		walk->dentry = core_get(mount, mnt_mountpoint);
		walk->mnt = core_address(above, mnt);
		return true;
	}
	parent = core_get(dentry, d_parent);
	if (parent == dentry && !first)
		return false; /* a tree that is mounted nowhere */
	*name = core_get(core_address(dentry, d_name), name);
	walk->dentry = parent;
	return true;
}

/* Appends a component to an area of `size` bytes, of which `length` are used; false if there is no room. */
ALWAYS_INLINE bool append_component(u8 *area, u32 *length, u32 size, const u8 *name)
{
	u32 used = in_memory(*length);
	long read;

	if (used > size - COMPONENT_SIZE)
		return false;
	read = bpf_probe_read_kernel_str(area + used, COMPONENT_SIZE, name);
	if (read <= 0)
		return false;
	in_memory(*length) = used + (u32)read;
	return true;
}

/* One step of a walk to the root, in the buffer of this slot. Each record header has its own. */
VERIFIED_ALONE int append_step(u32 slot);

VERIFIED_ALONE int append_few(u32 slot)
{
	return repeat_step(PATH_ROUNDS, append_step(slot));
}

VERIFIED_ALONE int append_some(u32 slot)
{
	return repeat_step(PATH_ROUNDS, append_few(slot));
}

VERIFIED_ALONE int append_all(u32 slot)
{
	return repeat_step(PATH_ROUNDS, append_some(slot));
}

#endif
