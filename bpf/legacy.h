/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the shared code (emit.h, probe.h) stands on when BCC compiles it at the start of the
 * agent; core.h is the same for the CO-RE object.
 *
 * Nothing is relocated here: a member is where the kernel's headers say, or, without them,
 * where kernel.h says after taskstream.source.kernel_tree put every member at its place. Where
 * there is BTF, assertions of every place stand behind this text.
 *
 * BCC rewrites calls of its map functions, and refuses them inside macros: hence one function
 * for each. Settings are macros, SETTING_NAME.
 */
#ifndef LEGACY_H
#define LEGACY_H

#ifdef KERNEL_HEADERS
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/binfmts.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/kernfs.h>
#include <linux/mm_types.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#ifndef CONFIG_TASK_IO_ACCOUNTING
#define WITHOUT_TASK_IO
#endif
#else
#include "kernel.h"
#endif

#include "task_event.h"
#include "layout.h"

#define NUMBERS_BY_CLAIM /* BCC's compiler has no addition that returns the old value */

/* --- reading --- */

#define READ(access, pointer, member)                                                              \
	({                                                                                         \
		__auto_type from_ = (pointer);                                                     \
		typeof(from_->member) value_;                                                      \
                                                                                                   \
		bpf_probe_read_kernel(&value_, sizeof(value_), &from_->member);                    \
		value_;                                                                            \
	})
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif
#define SIZE_OF(type)	  sizeof(type)
#define HAS_TASK_IO(task) true

/* --- settings --- */

#define SETTING(name) SETTING_##name
#define AGENT_TGID    SETTING(agent_tgid)

/* --- maps --- */

#define PAGES(bytes) ((bytes) / SETTING(page_bytes))

#if SETTING_perf_buffer
BPF_PERF_OUTPUT(events_perf);
BPF_PERF_OUTPUT(args_perf);
#else
BPF_RINGBUF_OUTPUT(events, PAGES(SETTING(events_bytes)));
BPF_RINGBUF_OUTPUT(args, PAGES(SETTING(args_bytes)));
#endif
BPF_PERCPU_ARRAY(totals, struct cpu_totals, 1);
BPF_PERCPU_ARRAY(windows, struct window_totals, WINDOW_SLOTS);

struct scratch_bytes {
	char bytes[SCRATCH_BYTES];
};

BPF_PERCPU_ARRAY(scratch, struct scratch_bytes, 1);
BPF_PERCPU_ARRAY(drafts, struct draft, DRAFTS);
BPF_PERCPU_ARRAY(paths, struct cgroup_path, PATHS);
BPF_TABLE("lru_hash", struct process_key, __u8, dead_groups, DEAD_GROUPS);
BPF_TABLE("lru_hash", struct number_claim, __u8, numbers, NUMBER_CLAIMS);
BPF_TABLE(SETTING(losses_type), struct process_key, struct process_losses, losses,
	  SETTING(losses_max));

static __always_inline struct cpu_totals *totals_at(__u32 *index)
{
	return totals.lookup(index);
}

static __always_inline struct window_totals *window_at(__u32 *index)
{
	return windows.lookup(index);
}

static __always_inline struct exec_args *scratch_at(__u32 *index)
{
	return (void *)scratch.lookup(index);
}

static __always_inline struct draft *draft_at(__u32 *index)
{
	return drafts.lookup(index);
}

static __always_inline struct cgroup_path *path_at(__u32 *index)
{
	return paths.lookup(index);
}

static __always_inline __u8 *dead_group_at(struct process_key *key)
{
	return dead_groups.lookup(key);
}

static __always_inline long add_dead_group(struct process_key *key, __u8 *one)
{
	return dead_groups.insert(key, one);
}

static __always_inline struct process_losses *losses_at(struct process_key *key)
{
	return losses.lookup(key);
}

static __always_inline long add_losses(struct process_key *key, struct process_losses *counts)
{
	return losses.insert(key, counts);
}

static __always_inline long add_number(struct number_claim *claim, __u8 *one)
{
	return numbers.insert(claim, one);
}

#if SETTING_perf_buffer
static __always_inline struct task_event *reserve_event(void)
{
	return NULL;
}

static __always_inline void submit_event(struct task_event *e, __u64 flags)
{
}

static __always_inline __u64 waiting_events(void)
{
	return 0;
}

static __always_inline long output_args(void *data, __u64 bytes, __u64 flags)
{
	return 0;
}

static __always_inline __u64 waiting_args(void)
{
	return 0;
}

static __always_inline long output_event_perf(void *ctx, struct task_event *e)
{
	return events_perf.perf_submit(ctx, e, sizeof(*e));
}

static __always_inline long output_args_perf(void *ctx, void *data, __u64 bytes)
{
	return args_perf.perf_submit(ctx, data, bytes);
}
#else
/* BCC 0.26 cannot ask a ring how full it is: the reader is woken after so many events of a CPU. */
static __always_inline struct task_event *reserve_event(void)
{
	return events.ringbuf_reserve(sizeof(struct task_event));
}

static __always_inline void submit_event(struct task_event *e, __u64 flags)
{
	events.ringbuf_submit(e, flags);
}

static __always_inline __u64 waiting_events(void)
{
	__u32 zero = 0;
	struct cpu_totals *cpu = totals.lookup(&zero);

	return cpu && cpu->seq % SETTING(wake_events) == 0 ? ~0ULL : 0;
}

static __always_inline long output_args(void *data, __u64 bytes, __u64 flags)
{
	return args.ringbuf_output(data, bytes, flags);
}

static __always_inline __u64 waiting_args(void)
{
	return 0;
}

static __always_inline long output_event_perf(void *ctx, struct task_event *e)
{
	return 0;
}

static __always_inline long output_args_perf(void *ctx, void *data, __u64 bytes)
{
	return 0;
}
#endif

#endif
