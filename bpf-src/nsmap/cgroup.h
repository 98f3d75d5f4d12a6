/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A cgroup as the kernel has it: the fields that nsmap's programs read, and what they ask of them.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "core_read.h"
#include "helpers.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	const char *name;
	u64 id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup_root {
	s32 hierarchy_id; /* 0: the v2 hierarchy */
};

struct cgroup {
	struct cgroup_subsys_state self;
	s32 level;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

#pragma clang attribute pop

/* v1 hierarchies have ids of their own, which collide with these. */
ALWAYS_INLINE bool is_v2(struct cgroup *cgroup)
{
	return core_get(core_get(cgroup, root), hierarchy_id) == 0;
}

/* Id of the cgroup that this one is in. */
ALWAYS_INLINE u64 parent_id(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *above = core_get(core_address(cgroup, self), parent);

	return core_get(core_get(core_get(above, cgroup), kn), id);
}

#endif
