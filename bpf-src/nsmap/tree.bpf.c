// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * nsmap follow: cgroups that are made and removed, where fanotify(7) cannot tell of them (before Linux 6.7 cgroupfs has no
 * number that it wants).
 *
 * Hooks: raw_tp/cgroup_mkdir and raw_tp/cgroup_rmdir (4.18), inside mkdir(2) and rmdir(2) and under a lock of the kernel's, so
 * that records are in order. A new directory can be opened some microseconds after its record.
 *
 * Misses: what finds no room in the ring buffer. It is counted, and user space looks at everything anew.
 */
#include "cgroup.h"

#define NAME_SIZE 256 /* NAME_MAX and the NUL */

#define MADE 1
#define REMOVED 2

/* All integers in host byte order. User space reads this layout. */
struct change {
	u64 id;
	u64 parent; /* id of the cgroup that it is in */
	u32 kind;
	u32 length; /* bytes of the name, without the NUL */
	char name[NAME_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* some 14,000 changes */
	__type(value, struct change);
} changes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} missed SEC(".maps");

ALWAYS_INLINE int tell(struct cgroup *cgroup, u32 kind)
{
	struct change change = {.kind = kind};
	struct kernfs_node *kn;
	u32 zero = 0;
	u64 *count;
	long length;

	if (!is_v2(cgroup))
		return 0;
	kn = core_get(cgroup, kn);
	change.id = core_get(kn, id);
	change.parent = parent_id(cgroup);
	length = bpf_probe_read_kernel_str(change.name, sizeof(change.name), core_get(kn, name));
	if (length > 1)
		change.length = (u32)length - 1;
	if (bpf_ringbuf_output(&changes, &change, sizeof(change), 0) == 0)
		return 0;
	count = bpf_map_lookup_elem(&missed, &zero);
	if (count)
		*count += 1;
	return 0;
}

SEC("raw_tp/cgroup_mkdir")
int tree_mkdir(u64 *ctx)
{
	return tell((struct cgroup *)ctx[0], MADE);
}

SEC("raw_tp/cgroup_rmdir")
int tree_rmdir(u64 *ctx)
{
	return tell((struct cgroup *)ctx[0], REMOVED);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
