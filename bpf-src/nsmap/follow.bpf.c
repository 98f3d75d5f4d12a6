// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * nsmap follow: a cgroup that is made becomes a member of the set at once, if its path or name says that it is followed.
 *
 * Hook: raw_tp/cgroup_mkdir. It runs inside mkdir(2), before the directory can be seen: nothing can run in the cgroup
 * before the set has it, so that the first exec of a container is traced. The tracepoint has been there since 4.18.
 *
 * Misses: what only an engine can tell, and patterns that a rule cannot say; user space adds those when it hears of the new
 * cgroup. A member that should not be there (a rule is a pattern of two ends) is removed by user space then, too.
 */
#include "cgroup.h"

/* Bytes of the two ends of a pattern. */
#define HEAD_WORDS 16
#define TAIL_WORDS 8
/* Rules for one parent. */
#define MAX_RULES 32
#define MAX_PATH 1024

/* In the value of a member: the cgroups below count too. */
#define SUBTREE 1ULL

/* A name, or a path, that begins with `head` and ends with `tail`: whole words are compared, under masks. */
struct rule {
	u64 head[HEAD_WORDS];
	u64 head_mask[HEAD_WORDS];
	u64 tail[TAIL_WORDS];
	u64 tail_mask[TAIL_WORDS];
	u32 tail_length; /* bytes */
	u32 least; /* bytes of the whole, without the NUL; both included */
	u32 most;
	u32 level; /* 0: `head` and `tail` are of the name; else of the path, of a cgroup so deep below the root */
};

struct rule_key {
	u64 parent; /* cgroup id; 0: wherever it is */
	u64 number; /* from 0, without gaps */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct rule_key);
	__type(value, struct rule);
} rules SEC(".maps");

/* User space replaces it by the user's set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u64);
} cgroup_set SEC(".maps");

struct text {
	u64 words[MAX_PATH / sizeof(u64)];
};

struct scratch {
	struct text name;
	struct text path;
	u64 tail[TAIL_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* What is looked at: an address in the kernel, and its first bytes. */
struct subject {
	const char *address;
	const struct text *text;
	u32 length; /* bytes without the NUL */
};

ALWAYS_INLINE bool head_fits(const struct rule *rule, const struct text *text)
{
	for (u32 i = 0; i < HEAD_WORDS; i++)
		if ((text->words[i] & rule->head_mask[i]) != rule->head[i])
			return false;
	return true;
}

ALWAYS_INLINE bool tail_fits(const struct rule *rule, const struct subject *subject, u64 *tail)
{
	u32 from = subject->length - rule->tail_length;

	if (!rule->tail_length)
		return true;
	if (bpf_probe_read_kernel_str(tail, TAIL_WORDS * sizeof(u64), subject->address + from) < 0)
		return false;
	for (u32 i = 0; i < TAIL_WORDS; i++)
		if ((tail[i] & rule->tail_mask[i]) != rule->tail[i])
			return false;
	return true;
}

ALWAYS_INLINE bool fits(const struct rule *rule, const struct subject *subject, u64 *tail)
{
	/* `least` is not less than both ends together. */
	if (subject->length < rule->least || subject->length > rule->most)
		return false;
	return head_fits(rule, subject->text) && tail_fits(rule, subject, tail);
}

/* 1 if a rule for this parent fits. */
ALWAYS_INLINE bool any_fits(u64 parent, u32 level, const struct subject *name, const struct subject *path, u64 *tail)
{
	struct rule_key key = {.parent = parent};

	for (u64 number = 0; number < MAX_RULES; number++) {
		const struct rule *rule;

		key.number = number;
		rule = bpf_map_lookup_elem(&rules, &key);
		if (!rule)
			return false;
		if (rule->level ? rule->level == level && fits(rule, path, tail) : fits(rule, name, tail))
			return true;
	}
	return false;
}

/* Its length without the NUL, 0 if it cannot be read whole. Bytes behind the NUL may be of an earlier one: they are masked. */
ALWAYS_INLINE u32 read_text(struct text *text, const char *address)
{
	long length = bpf_probe_read_kernel_str(text, sizeof(*text), address);

	return length > 1 && length < (long)sizeof(*text) ? (u32)length - 1 : 0;
}

SEC("raw_tp/cgroup_mkdir")
int follow_mkdir(u64 *ctx)
{
	struct cgroup *cgroup = (struct cgroup *)ctx[0];
	struct subject name = {}, path = {.address = (const char *)ctx[1]};
	struct kernfs_node *kn;
	struct scratch *own;
	u64 id, parent, member = SUBTREE;
	u32 zero = 0, level;

	if (!is_v2(cgroup))
		return 0;
	own = bpf_map_lookup_elem(&scratch, &zero);
	if (!own)
		return 0;
	kn = core_get(cgroup, kn);
	name.address = core_get(kn, name);
	name.text = &own->name;
	name.length = read_text(&own->name, name.address);
	path.text = &own->path;
	path.length = read_text(&own->path, path.address);
	parent = parent_id(cgroup);
	level = (u32)core_get(cgroup, level);
	if (!any_fits(0, level, &name, &path, own->tail) && !any_fits(parent, level, &name, &path, own->tail))
		return 0;
	id = core_get(kn, id);
	/* A set that is full is user space's to complain of. */
	bpf_map_update_elem(&cgroup_set, &id, &member, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
