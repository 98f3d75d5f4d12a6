/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who is worth a record: wanted() decides about the current task, still_wanted() about one that was identified before.
 *
 * In: the current task, the constants that user space sets before load, the two sets. Out: yes or no, and on yes the
 * identity part of the event header. All conditions must hold. A condition whose facts cannot be read does not hold.
 * A constant that is off removes its code: .rodata is frozen before the load, so the verifier knows the values.
 *
 * The sets are the loader's to replace by the user's pinned maps (any hash with a key of 8 bytes):
 *   cgroup_set  u64 cgroup id -> bit 0 of the value: the whole subtree; else that cgroup exactly
 *   mntns_set   u64 inode number -> low 32 bits of the namespace's never-reused id, which must match too; 0: unchecked
 */
#ifndef FILTER_H
#define FILTER_H

#include "core_read.h"
#include "event.h"
#include "kernel.h"

const volatile u32 filter_tgid = 0; /* 0: any, here and in the next two */
const volatile u32 filter_pid = 0;
const volatile u32 filter_ppid = 0;
const volatile bool filter_uid_on = false;
const volatile u32 filter_uid = 0;
const volatile bool filter_cgroup = false;
const volatile u32 cgroup_value_size = 8; /* bytes, of the map that is really used; here and below */
const volatile bool filter_mntns = false;
const volatile u32 mntns_value_size = 4;
const volatile bool filter_subtree = false; /* only the cgroup subtree_id and everything below it */
const volatile u64 subtree_id = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u64);
} cgroup_set SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u32);
} mntns_set SEC(".maps");

/* Deeper ancestors than this are not compared. Real trees have five to ten levels. */
#define MAX_CGROUP_LEVELS 64

#define SUBTREE_BIT 1

/* Tracing programs may use it since 5.14, which nothing tells; the next kernel brought task_pt_regs. */
#define HAS_ANCESTOR_HELPER core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)

/* Values are integers in host byte order, whatever their size; one too small to hold a flag or an id says nothing. */
ALWAYS_INLINE u64 set_value(const void *value, u32 size)
{
	if (size >= sizeof(u64))
		return *(const u64 *)value;
	if (size >= sizeof(u32))
		return *(const u32 *)value;
	return 0;
}

ALWAYS_INLINE u64 ancestor_id(struct cgroup *cgroup, u32 level)
{
	u64 id = 0;

	if (core_field_exists(struct cgroup, ancestors)) {
		u64 at = (u64)core_address(cgroup, ancestors) + level * sizeof(struct cgroup *);
		struct cgroup *ancestor = NULL;

		bpf_probe_read_kernel(&ancestor, sizeof(ancestor), (const void *)at);
		id = core_get(core_get(ancestor, kn), id);
	} else {
		u64 at = (u64)core_address((struct cgroup___with_ids *)cgroup, ancestor_ids) + level * sizeof(u64);

		bpf_probe_read_kernel(&id, sizeof(id), (const void *)at);
	}
	return id;
}

enum ancestor_question { IS_SUBTREE_IN_SET, IS_SUBTREE_ID };
enum ancestor_answer { ANCESTOR_NO, ANCESTOR_YES, ANCESTOR_NONE };

/* In place of an address: the cgroup of the current task, of which the kernel tells ancestors at the price of a call. */
#define OF_CURRENT_TASK 1

/* Answers the question about one ancestor of the cgroup at this address. */
VERIFIED_ALONE int ask_ancestor(u64 cgroup, u32 level, u32 question)
{
	const void *value;
	u64 id;

	if (cgroup == OF_CURRENT_TASK && HAS_ANCESTOR_HELPER)
		id = bpf_get_current_ancestor_cgroup_id((s32)level);
	else
		id = ancestor_id((struct cgroup *)cgroup, level);
	if (!id)
		return ANCESTOR_NONE;
	if (question == IS_SUBTREE_ID)
		return id == subtree_id ? ANCESTOR_YES : ANCESTOR_NO;
	value = bpf_map_lookup_elem(&cgroup_set, &id);
	return value && (set_value(value, cgroup_value_size) & SUBTREE_BIT) ? ANCESTOR_YES : ANCESTOR_NO;
}

/* Whether the answer is yes for one of the cgroups above the one at this address, from the root down. */
VERIFIED_ALONE int any_ancestor(u64 cgroup, u32 question)
{
	s32 levels = cgroup == OF_CURRENT_TASK ? MAX_CGROUP_LEVELS : core_get((struct cgroup *)cgroup, level);
	int answer = ANCESTOR_NO;

	for (s32 level = 0; level < MAX_CGROUP_LEVELS && level < levels && answer == ANCESTOR_NO; level++)
		answer = ask_ancestor(cgroup, (u32)level, question);
	return answer == ANCESTOR_YES;
}

/* The address of the current task's cgroup in the v2 hierarchy. */
ALWAYS_INLINE u64 current_cgroup(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return (u64)core_get(core_get(task, cgroups), dfl_cgrp);
}

ALWAYS_INLINE bool cgroup_wanted(u64 id, u64 cgroup)
{
	if (filter_subtree && id != subtree_id && !any_ancestor(cgroup, IS_SUBTREE_ID))
		return false;
	/* The cgroup itself matches whatever its value says. */
	if (filter_cgroup && !bpf_map_lookup_elem(&cgroup_set, &id) && !any_ancestor(cgroup, IS_SUBTREE_IN_SET))
		return false;
	return true;
}

ALWAYS_INLINE void read_mntns(struct task_struct *task, struct event_header *who)
{
	struct mnt_namespace *ns = core_get(core_get(task, nsproxy), mnt_ns);
	struct ns_common *common = core_address(ns, ns);

	who->mntns = core_get(common, inum);
	if (core_field_exists(struct ns_common___with_id, ns_id))
		who->mntns_seq = core_get((struct ns_common___with_id *)common, ns_id);
	else if (core_field_exists(struct mnt_namespace___with_seq, seq))
		who->mntns_seq = core_get((struct mnt_namespace___with_seq *)ns, seq);
	else
		who->mntns_seq = 0;
}

/* Closed when in doubt: no namespace read, or an id asked for that this kernel does not have, is "no". */
ALWAYS_INLINE bool mntns_wanted(const struct event_header *who)
{
	u64 key = who->mntns;
	const void *value;
	u32 id;

	if (!filter_mntns)
		return true;
	if (!key)
		return false;
	value = bpf_map_lookup_elem(&mntns_set, &key);
	if (!value)
		return false;
	id = (u32)set_value(value, mntns_value_size);
	return id == 0 || id == (u32)who->mntns_seq;
}

/*
 * What can be said by the ids alone: for hooks where most callers are not wanted and everything else costs more. Yes means
 * nothing yet: wanted() still has to be asked.
 */
ALWAYS_INLINE bool ids_wanted(void)
{
	if (filter_tgid && (u32)(bpf_get_current_pid_tgid() >> 32) != filter_tgid)
		return false;
	if (filter_pid && (u32)bpf_get_current_pid_tgid() != filter_pid)
		return false;
	return !filter_uid_on || (u32)bpf_get_current_uid_gid() == filter_uid;
}

/* Fills all of the header except time, CPU, kind and comm; false as soon as the current task is not wanted. */
ALWAYS_INLINE bool wanted(struct event_header *who)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 uid_gid = bpf_get_current_uid_gid();

	who->tgid = (u32)(pid_tgid >> 32);
	who->pid = (u32)pid_tgid;
	if (filter_tgid && who->tgid != filter_tgid)
		return false;
	if (filter_pid && who->pid != filter_pid)
		return false;
	who->uid = (u32)uid_gid;
	who->gid = (u32)(uid_gid >> 32);
	if (filter_uid_on && who->uid != filter_uid)
		return false;
	who->ppid = (u32)core_get(core_get(task, real_parent), tgid);
	if (filter_ppid && who->ppid != filter_ppid)
		return false;
	read_mntns(task, who);
	if (!mntns_wanted(who))
		return false;
	who->cgroup_id = bpf_get_current_cgroup_id();
	return cgroup_wanted(who->cgroup_id, HAS_ANCESTOR_HELPER ? OF_CURRENT_TASK : current_cgroup());
}

/*
 * For identities that outlive the moment: identify() takes the current task's, whole, and still_wanted() asks about it
 * later, of any task, against the sets as they are then.
 */
ALWAYS_INLINE void identify(struct event_header *who)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 uid_gid = bpf_get_current_uid_gid();

	who->tgid = (u32)(pid_tgid >> 32);
	who->pid = (u32)pid_tgid;
	who->uid = (u32)uid_gid;
	who->gid = (u32)(uid_gid >> 32);
	who->ppid = (u32)core_get(core_get(task, real_parent), tgid);
	read_mntns(task, who);
	who->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(who->comm, sizeof(who->comm));
}

/* `cgroup` is the address that current_cgroup() gave then. */
ALWAYS_INLINE bool still_wanted(const struct event_header *who, u64 cgroup)
{
	u64 id = who->cgroup_id;

	if (filter_tgid && who->tgid != filter_tgid)
		return false;
	if (filter_pid && who->pid != filter_pid)
		return false;
	if (filter_uid_on && who->uid != filter_uid)
		return false;
	if (filter_ppid && who->ppid != filter_ppid)
		return false;
	/* Its memory may be another's by now: then the ancestors are not known, and only the cgroup itself can match. */
	if (core_get(core_get((struct cgroup *)cgroup, kn), id) != id)
		cgroup = 0;
	return mntns_wanted(who) && cgroup_wanted(id, cgroup);
}

/* Whether any condition is set: what happened to nobody we know can only be shown when there is none. */
ALWAYS_INLINE bool anybody_wanted(void)
{
	return !filter_tgid && !filter_pid && !filter_uid_on && !filter_ppid && !filter_mntns && !filter_cgroup &&
	       !filter_subtree;
}

#endif
