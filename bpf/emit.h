/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How an event comes to be: numbered, counted, reserved, filled, submitted.
 *
 * event_begin and event_submit own the ring. The law that user space relies on: every event takes
 * a number of its CPU and is counted, in total and in its window, before the ring is asked; one for
 * which the ring has no room is counted as lost, and for its process. Programs may nest on a
 * CPU (an RCU callback interrupts a fork), so every count is an atomic addition, and what would
 * be shared scratch memory is a draft of each program's own.
 *
 * Shared by the CO-RE object and BCC: core.h or legacy.h stands before it.
 */
#ifndef EMIT_H
#define EMIT_H

#include "number.h"

#define PF_IO_WORKER   0x00000010
#define PF_USER_WORKER 0x00004000 /* 6.4: "fork: Add USER_WORKER flag to support user workers" */
#define PF_KTHREAD     0x00200000

#define INIT_PID_NS_INUM 0xEFFFFFFCU /* PROC_PID_INIT_INO in include/linux/proc_ns.h */

static __always_inline __u64 wake_flags(__u64 waiting)
{
	return waiting > SETTING(wake_bytes) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* CLOCK_BOOTTIME; before 5.8 there is no helper for it, and user space tells the difference. */
static __always_inline __u64 boot_clock(void)
{
	if (SETTING(no_boot_clock))
		return bpf_ktime_get_ns() + SETTING(boot_offset_ns);
	return bpf_ktime_get_boot_ns();
}

static __always_inline struct cpu_totals *cpu_totals(void)
{
	__u32 zero = 0;

	return totals_at(&zero);
}

static __always_inline void count_in_window(struct cpu_totals *cpu, enum task_count count,
					    __u64 boot_ns)
{
	__u64 window = boot_ns / SETTING(window_ns);
	__u32 index = window % WINDOW_SLOTS;
	struct window_totals *slot = window_at(&index);

	if (slot && !slot->window)
		slot->window = window;
	if (slot && slot->window == window)
		__sync_fetch_and_add(&slot->count[count], 1);
	else
		__sync_fetch_and_add(&cpu->unplaced[count], 1);
}

/* A hierarchy of v1 is found through one of its controllers: those without any name no events. */
static __always_inline __u64 cgroup_of_v1(struct css_set *set)
{
	struct cgroup_subsys_state **first = &set->subsys[0], *state = NULL;
	struct cgroup *group;
	struct kernfs_node *node;

	bpf_probe_read_kernel(&state, sizeof(state), first + SETTING(cgroup_slot));
	group = READ(PROBED, state, cgroup);
	node = READ(PROBED, group, kn);
	return READ(PROBED, node, id);
}

static __always_inline __u64 cgroup_of(enum access access, struct task_struct *task)
{
	struct css_set *set = READ(access, task, cgroups);
	struct cgroup *group;
	struct kernfs_node *node;

	if (SETTING(cgroup_hierarchy))
		return cgroup_of_v1(set);
	group = READ(access, set, dfl_cgrp);
	node = READ(access, group, kn);
	return READ(access, node, id);
}

/*
 * Say what a process is, for who did not get the events that said it. This is rare, so PROBED: at
 * a load, for each pointer that is read through a typed one, the verifier searches the kernel's
 * BTF from end to end, some times over (6.3: "bpf: Enable annotating trusted nested pointers").
 */
static __always_inline void name_process(struct process_losses *losses, struct task_struct *task,
					 __u64 boot_ns)
{
	struct task_struct *parent = READ(PROBED, task, real_parent);
	struct task_struct *parent_leader = READ(PROBED, parent, group_leader);
	struct cred *cred = (void *)READ(PROBED, task, real_cred);

	losses->named_ns = boot_ns;
	losses->parent_start_ns = READ(PROBED, parent_leader, start_boottime);
	losses->ppid = READ(PROBED, parent, tgid);
	losses->cgroup_id = cgroup_of(PROBED, task);
	losses->uid = READ(PROBED, cred, uid.val);
	bpf_probe_read_kernel(losses->comm, sizeof(losses->comm), &task->comm);
}

/*
 * Count a lost event, and charge its process with it: so the counts of a group stay exact. Where
 * the table has no room, or the process cannot be told, nobody is charged.
 */
static __always_inline void lose(struct cpu_totals *cpu, struct draft *draft, enum access access,
				 enum task_count count, struct task_struct *task,
				 __u64 process_start_ns, __u64 boot_ns)
{
	struct process_key key = {.start_ns = process_start_ns, .tgid = READ(access, task, tgid)};
	struct process_losses *losses = NULL;

	__sync_fetch_and_add(&cpu->lost[count], 1);
	if (!SETTING(charge_losses))
		return;
	if (process_start_ns)
		losses = losses_at(&key);
	if (process_start_ns && !losses && draft) {
		__builtin_memset(&draft->losses, 0, sizeof(draft->losses));
		name_process(&draft->losses, task, boot_ns);
		add_losses(&key, &draft->losses);
		losses = losses_at(&key);
	}
	if (!losses) {
		__sync_fetch_and_add(&cpu->uncharged[count], 1);
		return;
	}
	if (count == COUNT_EXEC || !losses->named_ns) /* with a map per core: new on this one */
		name_process(losses, task, boot_ns);
	__sync_fetch_and_add(&losses->count[count], 1);
}

/* Set what is the same for every kind. The tail is cleared: ring memory holds old bytes. */
static __always_inline void fill(struct task_event *e, enum access access, enum task_kind kind,
				 struct task_struct *task, __u64 process_start_ns)
{
	struct task_struct *parent = READ(access, task, real_parent);
	struct task_struct *parent_leader = READ(access, parent, group_leader);
	struct cred *cred = (void *)READ(access, task, real_cred);
	struct pid *pid = READ(access, task, thread_pid);
	__u32 task_flags = READ(access, task, flags);
	__u32 level = 0, flags = 0;
	int i;

#pragma unroll
	for (i = 0; i < 11; i++)
		e->tail[i] = 0;
	e->version = TASK_EVENT_VERSION;
	e->kind = kind;
	e->pid = READ(access, task, pid);
	e->tgid = READ(access, task, tgid);
	e->start_ns = READ(access, task, start_boottime);
	e->process_start_ns = process_start_ns;
	e->uid = READ(access, cred, uid.val);
	e->gid = READ(access, cred, gid.val);
	e->cgroup_id = cgroup_of(access, task);
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), &task->comm);

	e->ppid = READ(access, parent, tgid);
	e->parent_start_ns = READ(access, parent_leader, start_boottime);

	e->pidns = 0;
	e->pidns_pid = 0;
	e->pidns_tgid = 0;
	if (pid)
		level = READ(access, pid, level);
	if (!pid) {
		flags |= FLAG_PIDNS_UNKNOWN;
	} else if (!level) {
		e->pidns = INIT_PID_NS_INUM;
		e->pidns_pid = e->pid;
		e->pidns_tgid = e->tgid;
	} else {
		/* The verifier lets nobody add to a typed pointer. */
		struct task_struct *leader = READ(access, task, group_leader);
		struct pid *leader_pid = READ(PROBED, leader, thread_pid);
		struct pid *own_pid = READ(PROBED, task, thread_pid);
		__u64 at = level * SIZE_OF(struct upid);
		struct pid_namespace *namespace;
		struct upid inner;

		bpf_probe_read_kernel(&inner, sizeof(inner), (void *)&own_pid->numbers[0] + at);
		e->pidns_pid = inner.nr;
		namespace = inner.ns;
		e->pidns = READ(PROBED, namespace, ns.inum);
		bpf_probe_read_kernel(&inner, sizeof(inner), (void *)&leader_pid->numbers[0] + at);
		e->pidns_tgid = inner.nr;
	}

	if (e->pid != e->tgid)
		flags |= FLAG_THREAD;
	if (task_flags & PF_KTHREAD)
		flags |= FLAG_KERNEL_THREAD;
	else if (task_flags & (PF_IO_WORKER | PF_USER_WORKER))
		flags |= FLAG_IO_WORKER;
	if (AGENT_TGID && (e->tgid == AGENT_TGID || e->ppid == AGENT_TGID))
		flags |= FLAG_AGENT;
	e->flags = flags;
}

static __always_inline __u64 process_start(enum access access, struct task_struct *task)
{
	struct task_struct *leader = READ(access, task, group_leader);

	return READ(access, leader, start_boottime);
}

/*
 * Args:
 *   draft: index of the program's own draft.
 *   process_start_ns: identity of the task's process; 0 if it cannot be told.
 */
static __always_inline struct task_event *event_begin(__u32 draft, enum access access,
						      enum task_kind kind, enum task_count count,
						      struct task_struct *task,
						      __u64 process_start_ns)
{
	__u64 boot_ns = boot_clock();
	struct cpu_totals *cpu = cpu_totals();
	struct draft *own = NULL;
	struct task_event *e;
	__u64 seq;

	if (SETTING(perf_buffer) || SETTING(charge_losses))
		own = draft_at(&draft);
	if (!cpu)
		return NULL; /* cannot be: an array has every index */
	seq = take_number(cpu);
	__sync_fetch_and_add(&cpu->count[count], 1);
	count_in_window(cpu, count, boot_ns);
	if (SETTING(perf_buffer))
		e = own ? &own->event : NULL;
	else
		e = reserve_event();
	if (!e) {
		lose(cpu, own, access, count, task, process_start_ns, boot_ns);
		return NULL;
	}
	fill(e, access, kind, task, process_start_ns);
	e->cpu = bpf_get_smp_processor_id();
	e->seq = seq;
	e->boot_ns = boot_ns;
	return e;
}

/* Args as of event_begin. A ring that gave room keeps it; a perf buffer may refuse only now. */
static __always_inline int event_submit(void *ctx, struct task_event *e, __u32 draft,
					enum access access, enum task_count count,
					struct task_struct *task)
{
	struct cpu_totals *cpu;

	if (!SETTING(perf_buffer)) {
		submit_event(e, wake_flags(waiting_events()));
		return 0;
	}
	if (!output_event_perf(ctx, e))
		return 0;
	cpu = cpu_totals();
	if (cpu)
		lose(cpu, draft_at(&draft), access, count, task, e->process_start_ns, e->boot_ns);
	return 0;
}

#endif
