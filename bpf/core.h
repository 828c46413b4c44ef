/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the shared code (emit.h, probe.h) stands on in the CO-RE object: settings, maps, and how
 * a member of a kernel struct is read. legacy.h is the same for BCC.
 */
#ifndef CORE_H
#define CORE_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "task_event.h"
#include "layout.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#include "kernel.h"

/* 6.16: "exit: move and extend sched_process_exit() tracepoint" gave it the argument group_dead. */
struct trace_event_raw_sched_process_exit {
	bool group_dead;
};

struct trace_event_raw_sys_exit {
	long ret;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* --- reading --- */

#define READ(access, pointer, member)                                                              \
	({                                                                                         \
		__auto_type from_ = (pointer);                                                     \
		typeof(from_->member) value_;                                                      \
                                                                                                   \
		if ((access) == TYPED)                                                             \
			value_ = from_->member;                                                    \
		else                                                                               \
			bpf_core_read(&value_, sizeof(value_), &from_->member);                    \
		value_;                                                                            \
	})
#define SIZE_OF(type)	  bpf_core_type_size(type)
#define HAS_TASK_IO(task) bpf_core_field_exists((task)->ioac.read_bytes)
#define EXIT_HAS_GROUP_DEAD                                                                        \
	bpf_core_field_exists(struct trace_event_raw_sched_process_exit, group_dead)

/* The verifier lets nobody read registers at a relocated place, but a helper may. */
static __always_inline void *first_argument(struct pt_regs *regs)
{
	if (bpf_core_field_exists(regs->di))
		return (void *)READ(PROBED, regs, di);
	return (void *)READ(PROBED, regs, regs[0]);
}

static __always_inline long return_value(struct pt_regs *regs)
{
	if (bpf_core_field_exists(regs->ax))
		return READ(PROBED, regs, ax);
	return READ(PROBED, regs, regs[0]);
}

/* --- settings --- */

const volatile struct settings settings = {
	.schema_version = TASK_EVENT_VERSION,
	.wake_bytes = 1 << 20,
	.window_ns = 5000000000ULL,
	.args_max = 4096,
	.page_bytes = 4096,
};

#define SETTING(name) settings.name

/* Filled by the snapshot, which runs in the agent: its tgid as the kernel sees it. */
__u32 agent_tgid = 0;

#define AGENT_TGID agent_tgid

/* --- maps --- */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} args SEC(".maps");

/* Instead of the rings, where the kernel has none (before 5.8) or the user wants it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} events_perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} args_perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_totals);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WINDOW_SLOTS);
	__type(key, __u32);
	__type(value, struct window_totals);
} windows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, char[SCRATCH_BYTES]);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DRAFTS);
	__type(key, __u32);
	__type(value, struct draft);
} drafts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PATHS);
	__type(key, __u32);
	__type(value, struct cgroup_path);
} paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DEAD_GROUPS);
	__type(key, struct process_key);
	__type(value, __u8);
} dead_groups SEC(".maps");

/* Its type is PERCPU_HASH with `maps per core`; its size is `pid table size`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct process_key);
	__type(value, struct process_losses);
} losses SEC(".maps");

#ifdef NUMBERS_BY_CLAIM
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NUMBER_CLAIMS);
	__type(key, struct number_claim);
	__type(value, __u8);
} numbers SEC(".maps");
#endif

static __always_inline struct cpu_totals *totals_at(__u32 *index)
{
	return bpf_map_lookup_elem(&totals, index);
}

static __always_inline struct window_totals *window_at(__u32 *index)
{
	return bpf_map_lookup_elem(&windows, index);
}

static __always_inline struct exec_args *scratch_at(__u32 *index)
{
	return bpf_map_lookup_elem(&scratch, index);
}

static __always_inline struct draft *draft_at(__u32 *index)
{
	return bpf_map_lookup_elem(&drafts, index);
}

static __always_inline struct cgroup_path *path_at(__u32 *index)
{
	return bpf_map_lookup_elem(&paths, index);
}

static __always_inline __u8 *dead_group_at(struct process_key *key)
{
	return bpf_map_lookup_elem(&dead_groups, key);
}

static __always_inline long add_dead_group(struct process_key *key, __u8 *one)
{
	return bpf_map_update_elem(&dead_groups, key, one, BPF_NOEXIST);
}

static __always_inline struct process_losses *losses_at(struct process_key *key)
{
	return bpf_map_lookup_elem(&losses, key);
}

static __always_inline long add_losses(struct process_key *key, struct process_losses *counts)
{
	return bpf_map_update_elem(&losses, key, counts, BPF_NOEXIST);
}

#ifdef NUMBERS_BY_CLAIM
static __always_inline long add_number(struct number_claim *claim, __u8 *one)
{
	return bpf_map_update_elem(&numbers, claim, one, BPF_NOEXIST);
}
#endif

static __always_inline struct task_event *reserve_event(void)
{
	return bpf_ringbuf_reserve(&events, sizeof(struct task_event), 0);
}

static __always_inline void submit_event(struct task_event *e, __u64 flags)
{
	bpf_ringbuf_submit(e, flags);
}

static __always_inline __u64 waiting_events(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
}

static __always_inline long output_args(void *data, __u64 bytes, __u64 flags)
{
	return bpf_ringbuf_output(&args, data, bytes, flags);
}

static __always_inline __u64 waiting_args(void)
{
	return bpf_ringbuf_query(&args, BPF_RB_AVAIL_DATA);
}

static __always_inline long output_event_perf(void *ctx, struct task_event *e)
{
	return bpf_perf_event_output(ctx, &events_perf, BPF_F_CURRENT_CPU, e, sizeof(*e));
}

static __always_inline long output_args_perf(void *ctx, void *data, __u64 bytes)
{
	return bpf_perf_event_output(ctx, &args_perf, BPF_F_CURRENT_CPU, data, bytes);
}

#endif
