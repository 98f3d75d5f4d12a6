/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Two programs on one hook, so that the second sees what the first one cannot.
 *
 * The kernel runs no program inside itself: what happens on a CPU while the program that would see it is at work there,
 * and was interrupted, is missed. Interrupts end connections (tracepoints, since 6.1). Another task can get in the way for
 * as long as a scheduler sees fit, and hide all that the CPU does meanwhile: where the kernel may be preempted, fentry and
 * fexit since 5.12 and tracepoints since 7.0. To keep the others out does not help: they come the moment that the
 * program lets them, when the kernel still takes it for running.
 *
 * So the first of the two says when it is at work on this CPU, which it does not leave meanwhile; the second one looks only
 * at what happens then, as the first one has missed it. (Unless the first was done with it, and is at work for somebody
 * else by the time that the second has its turn: that is what `done` tells.) The second has to come after the first: of a
 * tracepoint's programs that is the one attached later, of a trampoline's the one attached earlier. It is called NAME_2;
 * user space takes what it saw from what the first one missed, the rest is lost.
 *
 * What is not told apart: a task that is preempted between the two programs and goes on on another CPU, where the first one is at
 * work for somebody else just then. Its event is shown twice.
 */
#ifndef TWIN_H
#define TWIN_H

#include "helpers.h"

/* The pairs of a program file. */
enum pair { PAIR_MAIN, PAIR_ACCEPT, PAIR_CONNECT_V4, PAIR_CONNECT_V6, PAIRS };

/* Tasks of one CPU that wait between the two programs: each but the last of them was preempted there. */
#define WAITING 2

struct pair_state {
	u64 at_work; /* the first program */
	u64 second_at_work;
	u64 done[WAITING]; /* whose event it has done, until the second one has its turn: see this_task(); 0: free */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PAIRS);
	__type(key, u32);
	__type(value, struct pair_state);
} pairs SEC(".maps");

/* By pair: how often the second program did the work. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PAIRS);
	__type(key, u32);
	__type(value, u64);
} seen_second SEC(".maps");

/* The current task as a number that is not 0, which the idle task's would be. */
ALWAYS_INLINE u64 this_task(void)
{
	return bpf_get_current_pid_tgid() + 1;
}

/* NULL only for the verifier. */
ALWAYS_INLINE volatile struct pair_state *begin_first(u32 pair)
{
	volatile struct pair_state *state = bpf_map_lookup_elem(&pairs, &pair);

	if (state)
		state->at_work = true;
	return state;
}

/*
 * Nobody else takes a free place meanwhile, as there is one first program at a time; the second only gives its own back. While
 * that one is at work, the event that interrupts it has no second turn, and would leave its mark for good.
 */
ALWAYS_INLINE void end_first(volatile struct pair_state *state)
{
	if (!state->second_at_work)
		state->done[state->done[0] != 0] = this_task();
	state->at_work = false;
}

/* Whether the first program was done with the current task's event. */
ALWAYS_INLINE bool was_done(volatile struct pair_state *state)
{
	u64 task = this_task();
	bool found = false;

	for (u32 place = 0; place < WAITING; place++) {
		if (state->done[place] == task) {
			state->done[place] = 0;
			found = true;
		}
	}
	return found;
}

/* NULL only for the verifier. */
ALWAYS_INLINE volatile struct pair_state *begin_second(u32 pair)
{
	volatile struct pair_state *state = bpf_map_lookup_elem(&pairs, &pair);

	if (state)
		state->second_at_work = true;
	return state;
}

ALWAYS_INLINE void end_second(volatile struct pair_state *state)
{
	state->second_at_work = false;
}

/* For the second: whether to do what the first would. */
ALWAYS_INLINE bool first_missed_it(volatile struct pair_state *state, u32 pair)
{
	u64 *seen;

	if (was_done(state) || !state->at_work)
		return false;
	seen = bpf_map_lookup_elem(&seen_second, &pair);
	if (seen)
		*seen += 1;
	return true;
}

/* The two programs of a hook, and what each does with the context `ctx`. */
#define TWINS(section, name, pair, first, second)                                                                      \
	SEC(section) int name(const u64 *ctx)                                                                          \
	{                                                                                                              \
		volatile struct pair_state *state = begin_first(pair);                                                 \
                                                                                                                       \
		if (!state)                                                                                            \
			return 0;                                                                                      \
		first;                                                                                                 \
		end_first(state);                                                                                      \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC(section) int name##_2(const u64 *ctx)                                                                      \
	{                                                                                                              \
		volatile struct pair_state *state = begin_second(pair);                                                \
                                                                                                                       \
		if (!state)                                                                                            \
			return 0;                                                                                      \
		if (first_missed_it(state, pair))                                                                      \
			second;                                                                                        \
		end_second(state);                                                                                     \
		return 0;                                                                                              \
	}

#endif
