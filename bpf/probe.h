/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What each kind of event takes from the kernel, whatever the hook that calls it. What each hook
 * means, and why it was chosen, is in DECISIONS.md. Shared by the CO-RE object and BCC.
 */
#ifndef PROBE_H
#define PROBE_H

#include "emit.h"

#define ERESTARTSYS 512 /* include/linux/errno.h: from here on, never seen by user programs */

/* At the end of copy_process: pid, parent and cgroup of the child are final, also for io workers.
 */
static __always_inline int fork_event(void *ctx, enum access access, struct task_struct *child,
				      __u64 clone_flags)
{
	enum task_count count = READ(access, child, pid) == READ(access, child, tgid)
					? COUNT_FORK_PROCESS
					: COUNT_FORK_THREAD;
	struct task_event *e;
	__u64 caller = bpf_get_current_pid_tgid();

	e = event_begin(KIND_FORK, access, KIND_FORK, count, child, process_start(access, child));
	if (!e)
		return 0; /* counted by event_begin */
	e->fork.clone_flags = clone_flags;
	e->fork.caller_pid = caller;
	e->fork.caller_tgid = caller >> 32;
	return event_submit(ctx, e, KIND_FORK, access, count, child);
}

/*
 * Send filename and argv ahead of the event. Returns flags to set in it. Only this probe uses the
 * scratch memory, and the kernel never nests a program in itself on a CPU.
 */
static __always_inline __u32 send_args(void *ctx, enum access access, struct task_event *e,
				       struct task_struct *task, struct linux_binprm *bprm)
{
	struct mm_struct *mm = READ(access, task, mm);
	__u64 start = READ(access, mm, arg_start);
	__u64 bytes = READ(access, mm, arg_end) - start;
	__u64 kept = bytes, total;
	__u32 zero = 0, flags = 0;
	struct exec_args *head = scratch_at(&zero);
	const char *name = READ(access, bprm, filename);
	struct cpu_totals *cpu;
	char *text;
	long filename, failed;

	e->exec.args_bytes = bytes;
	if (!head)
		return FLAG_ARGS_LOST;
	text = (char *)(head + 1);
	filename = bpf_probe_read_kernel_str(text, FILENAME_MAX, name);
	if (filename < 1)
		return FLAG_ARGS_LOST;
	barrier_var(filename); /* or both bounds become one, of another register */
	if (filename > FILENAME_MAX)
		return FLAG_ARGS_LOST;
	if (filename == FILENAME_MAX)
		flags |= FLAG_FILENAME_TRUNCATED;
	filename--;
	if (kept > SETTING(args_max))
		kept = SETTING(args_max);
	if (kept > TASK_ARGS_MAX)
		kept = TASK_ARGS_MAX;
	if (kept < bytes)
		flags |= FLAG_ARGS_TRUNCATED;
	head->seq = e->seq;
	head->cpu = e->cpu;
	head->filename_bytes = filename;
	head->args_bytes = kept;
	/* What follows cannot be; the verifier has to see it where the lengths are used. */
	barrier_var(kept);
	if (kept > TASK_ARGS_MAX)
		return FLAG_ARGS_LOST;
	if (bpf_probe_read_user(text + filename, kept, (void *)start))
		return FLAG_ARGS_LOST;
	total = sizeof(*head) + filename + kept;
	barrier_var(total);
	if (total > SCRATCH_BYTES)
		return FLAG_ARGS_LOST;
	if (SETTING(perf_buffer))
		failed = output_args_perf(ctx, head, total);
	else
		failed = output_args(head, total, wake_flags(waiting_args()));
	if (!failed)
		return flags;
	cpu = cpu_totals();
	if (cpu)
		__sync_fetch_and_add(&cpu->args_lost, 1);
	return FLAG_ARGS_LOST;
}

static __always_inline int exec_event(void *ctx, enum access access, struct task_struct *task,
				      int old_pid, struct linux_binprm *bprm)
{
	struct task_event *e;

	e = event_begin(KIND_EXEC, access, KIND_EXEC, COUNT_EXEC, task,
			process_start(access, task));
	if (!e)
		return 0; /* counted by event_begin */
	e->exec.old_pid = old_pid;
	e->exec.argc = READ(access, bprm, argc);
	e->flags |= send_args(ctx, access, e, task, bprm);
	return event_submit(ctx, e, KIND_EXEC, access, COUNT_EXEC, task);
}

/* True for exactly one exiting task of a process, for kernels that do not tell it: there two
 * threads that exit at once both see signal->live == 0. */
static __always_inline bool claim_group_dead(enum access access, struct task_struct *task)
{
	struct signal_struct *signal = READ(access, task, signal);
	struct process_key key = {};
	__u8 one = 1;

	if (READ(access, signal, live.counter))
		return false;
	key.start_ns = process_start(access, task);
	key.tgid = READ(access, task, tgid);
	if (READ(access, signal, nr_threads) == 1)
		return !dead_group_at(&key);
	return !add_dead_group(&key, &one);
}

static __always_inline void fill_io(struct task_event *e, enum access access,
				    struct task_struct *task)
{
#ifndef WITHOUT_TASK_IO
	if (HAS_TASK_IO(task)) {
		e->exit.read_bytes = READ(access, task, ioac.read_bytes);
		e->exit.written_bytes = READ(access, task, ioac.write_bytes);
		return;
	}
#endif
	e->flags |= FLAG_IO_UNKNOWN;
}

static __always_inline int exit_event(void *ctx, enum access access, struct task_struct *task,
				      bool group_dead)
{
	enum task_count count = group_dead ? COUNT_EXIT_PROCESS : COUNT_EXIT_THREAD;
	struct signal_struct *signal = READ(access, task, signal);
	struct task_event *e;

	e = event_begin(KIND_EXIT, access, KIND_EXIT, count, task, process_start(access, task));
	if (!e)
		return 0; /* counted by event_begin */
	e->exit.exit_code = READ(access, task, exit_code);
	e->exit.threads_left = READ(access, signal, live.counter);
	e->exit.utime_ns = READ(access, task, utime);
	e->exit.stime_ns = READ(access, task, stime);
	e->exit.runtime_ns = READ(access, task, se.sum_exec_runtime);
	e->exit.minor_faults = READ(access, task, min_flt);
	e->exit.major_faults = READ(access, task, maj_flt);
	e->exit.voluntary_switches = READ(access, task, nvcsw);
	e->exit.involuntary_switches = READ(access, task, nivcsw);
	fill_io(e, access, task);
	if (group_dead) {
		e->flags |= FLAG_GROUP_DEAD;
		e->exit.max_rss_bytes = READ(access, signal, maxrss) * SETTING(page_bytes);
	}
	return event_submit(ctx, e, KIND_EXIT, access, count, task);
}

/* In release_task: the task is dead and still whole, and who releases it is on the CPU. */
static __always_inline int release_event(void *ctx, enum access access, struct task_struct *task)
{
	struct task_event *e;

	e = event_begin(KIND_FREE, access, KIND_FREE, COUNT_FREE, task,
			process_start(access, task));
	if (!e)
		return 0; /* counted by event_begin */
	e->free.reaper_tgid = bpf_get_current_pid_tgid() >> 32;
	e->flags |= FLAG_REAPER_KNOWN;
	return event_submit(ctx, e, KIND_FREE, access, COUNT_FREE, task);
}

/*
 * At sched_process_free, which stands in for release_task: it runs from an RCU callback, some
 * time later. By then the parent and the leader may be gone, and their memory another task's.
 * Believe the parent only if it started before its child, and the leader only if it has the same
 * signal_struct, which the task keeps alive.
 */
static __always_inline int free_event(void *ctx, enum access access, struct task_struct *task)
{
	struct task_struct *leader = READ(access, task, group_leader);
	struct task_struct *parent = READ(access, task, real_parent);
	bool known = READ(access, leader, signal) == READ(access, task, signal);
	struct task_event *e;

	e = event_begin(KIND_FREE, access, KIND_FREE, COUNT_FREE, task,
			known ? READ(access, leader, start_boottime) : 0);
	if (!e)
		return 0; /* counted by event_begin */
	if (!known)
		e->flags |= FLAG_PROCESS_UNKNOWN;
	if (!e->parent_start_ns || e->parent_start_ns > e->start_ns ||
	    READ(access, parent, start_boottime) > e->start_ns) {
		e->parent_start_ns = 0;
		e->ppid = 0;
		e->flags |= FLAG_PARENT_UNKNOWN;
	}
	return event_submit(ctx, e, KIND_FREE, access, COUNT_FREE, task);
}

static __always_inline int fail_event(void *ctx, enum task_call call, enum task_count count,
				      long ret)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_event *e;

	if (ret >= 0 || ret <= -ERESTARTSYS)
		return 0; /* the kernel repeats the call by itself: the caller sees no error */
	e = event_begin(KIND_TASK + call, PROBED, KIND_FAIL, count, task,
			process_start(PROBED, task));
	if (!e)
		return 0; /* counted by event_begin */
	e->fail.call = call;
	e->fail.errno = -ret;
	return event_submit(ctx, e, KIND_TASK + call, PROBED, count, task);
}

/*
 * A cgroup of the hierarchy that events name came to be, has another path, or is gone. The name
 * travels in the ring of arguments: whoever has read an event finds the name of its cgroup there.
 * Rare, so PROBED, for the reason that stands at name_process.
 *
 * Args:
 *   index: of the program's own memory.
 *   gone: whether it was removed.
 */
static __always_inline int cgroup_event(void *ctx, __u32 index, struct cgroup *cgroup,
					const char *path, bool gone)
{
	struct cgroup_root *root = READ(PROBED, cgroup, root);
	struct kernfs_node *node = READ(PROBED, cgroup, kn);
	struct cgroup_path *name = path_at(&index);
	struct cpu_totals *cpu;
	__u64 total, failed;
	long bytes;

	if (READ(PROBED, root, hierarchy_id) != SETTING(cgroup_hierarchy) || !name)
		return 0; /* events do not name the groups of the others */
	bytes = bpf_probe_read_kernel_str(name->path, sizeof(name->path), path);
	if (bytes < 1)
		return 0;
	name->head.seq = READ(PROBED, node, id);
	name->head.cpu = NAME_CPU;
	name->head.filename_bytes = bytes - 1;
	name->head.args_bytes = gone;
	total = sizeof(name->head) + bytes;
	barrier_var(total);
	if (total > sizeof(*name))
		return 0;
	if (SETTING(perf_buffer))
		failed = output_args_perf(ctx, name, total);
	else
		failed = output_args(name, total, BPF_RB_NO_WAKEUP);
	cpu = failed ? cpu_totals() : NULL;
	if (cpu)
		__sync_fetch_and_add(&cpu->args_lost, 1);
	return 0;
}

/* The system calls at whose return a tracepoint tells of a failure. */
/* clang-format off */
#define FAILING_CALLS(probe)                        \
	probe(fork, CALL_FORK, COUNT_FAIL_CREATE)     \
	probe(vfork, CALL_VFORK, COUNT_FAIL_CREATE)   \
	probe(clone, CALL_CLONE, COUNT_FAIL_CREATE)   \
	probe(clone3, CALL_CLONE3, COUNT_FAIL_CREATE) \
	probe(execve, CALL_EXECVE, COUNT_FAIL_EXEC)   \
	probe(execveat, CALL_EXECVEAT, COUNT_FAIL_EXEC)
/* clang-format on */

#endif
