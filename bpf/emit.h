/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How an event comes to be: numbered, counted, reserved, filled, submitted.
 *
 * event_begin, event_submit and event_discard own the ring. The law that user space relies on:
 * every event takes a number of its CPU and is counted, in total and in its window, before the
 * ring is asked; one for which the ring has no room is counted as lost. Programs may nest on a
 * CPU (an RCU callback interrupts a fork), so every count is an atomic addition.
 */
#ifndef EMIT_H
#define EMIT_H

#include "kernel.h"
#include "task_event.h"

#define WINDOW_SLOTS  64 /* a power of two; user space empties a slot long before its turn */
#define FILENAME_MAX  (4096 + 32) /* PATH_MAX, and the "/dev/fd/N/" that execveat puts before it */
#define SCRATCH_BYTES (sizeof(struct exec_args) + FILENAME_MAX + TASK_ARGS_MAX)

const volatile struct settings settings = {
	.schema_version = TASK_EVENT_VERSION,
	.wake_bytes = 1 << 20,
	.window_ns = 5000000000ULL,
	.args_max = 4096,
	.page_bytes = 4096,
};

/* Filled by the snapshot, which runs in the agent: its tgid as the kernel sees it. */
__u32 agent_tgid = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} args SEC(".maps");

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

/* Only the exec probe uses it, and the kernel never nests a program in itself on a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, char[SCRATCH_BYTES]);
} scratch SEC(".maps");

static __always_inline __u64 wake_flags(void *ring)
{
	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > settings.wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline struct cpu_totals *cpu_totals(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&totals, &zero);
}

static __always_inline void count_in_window(struct cpu_totals *cpu, enum task_count count,
					    __u64 boot_ns)
{
	__u64 window = boot_ns / settings.window_ns;
	__u32 index = window % WINDOW_SLOTS;
	struct window_totals *slot = bpf_map_lookup_elem(&windows, &index);

	if (slot && !slot->window)
		slot->window = window;
	if (slot && slot->window == window)
		__sync_fetch_and_add(&slot->count[count], 1);
	else
		__sync_fetch_and_add(&cpu->unplaced[count], 1);
}

/* Set what is the same for every kind. The tail is cleared: ring memory holds old bytes. */
static __always_inline void fill(struct task_event *e, enum task_kind kind,
				 struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = task->real_parent;
	struct pid *pid = task->thread_pid;
	__u32 flags = 0;
	int i;

#pragma unroll
	for (i = 0; i < 11; i++)
		e->tail[i] = 0;
	e->version = TASK_EVENT_VERSION;
	e->kind = kind;
	e->pid = task->pid;
	e->tgid = task->tgid;
	e->start_ns = task->start_boottime;
	e->process_start_ns = leader->start_boottime;
	e->uid = task->real_cred->uid.val;
	e->gid = task->real_cred->gid.val;
	e->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), task->comm);

	e->ppid = parent->tgid;
	e->parent_start_ns = parent->group_leader->start_boottime;

	e->pidns = 0;
	e->pidns_pid = 0;
	e->pidns_tgid = 0;
	if (!pid) {
		flags |= FLAG_PIDNS_UNKNOWN;
	} else if (!pid->level) {
		e->pidns = INIT_PID_NS_INUM;
		e->pidns_pid = e->pid;
		e->pidns_tgid = e->tgid;
	} else {
		struct pid *leader_pid = leader->thread_pid;
		__u64 at = pid->level * bpf_core_type_size(struct upid);
		struct upid inner;

		bpf_probe_read_kernel(&inner, sizeof(inner), (void *)&pid->numbers[0] + at);
		e->pidns_pid = inner.nr;
		e->pidns = BPF_CORE_READ(inner.ns, ns.inum);
		bpf_probe_read_kernel(&inner, sizeof(inner), (void *)&leader_pid->numbers[0] + at);
		e->pidns_tgid = inner.nr;
	}

	if (e->pid != e->tgid)
		flags |= FLAG_THREAD;
	if (task->flags & PF_KTHREAD)
		flags |= FLAG_KERNEL_THREAD;
	else if (task->flags & (PF_IO_WORKER | PF_USER_WORKER))
		flags |= FLAG_IO_WORKER;
	if (agent_tgid && (e->tgid == agent_tgid || e->ppid == agent_tgid))
		flags |= FLAG_AGENT;
	e->flags = flags;
}

static __always_inline struct task_event *event_begin(enum task_kind kind, enum task_count count,
						      struct task_struct *task)
{
	__u64 boot_ns = bpf_ktime_get_boot_ns();
	struct cpu_totals *cpu = cpu_totals();
	struct task_event *e;
	__u64 seq;

	if (!cpu)
		return NULL; /* cannot be: an array has every index */
	seq = __sync_fetch_and_add(&cpu->seq, 1);
	__sync_fetch_and_add(&cpu->count[count], 1);
	count_in_window(cpu, count, boot_ns);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&cpu->lost[count], 1);
		return NULL;
	}
	fill(e, kind, task);
	e->cpu = bpf_get_smp_processor_id();
	e->seq = seq;
	e->boot_ns = boot_ns;
	return e;
}

static __always_inline int event_submit(struct task_event *e)
{
	bpf_ringbuf_submit(e, wake_flags(&events));
	return 0;
}

#endif
