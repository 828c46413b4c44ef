// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CO-RE probes. What each hook means, and why it was chosen, is in DECISIONS.md.
 */
#include "emit.h"

char LICENSE[] SEC("license") = "GPL";

/*
 * Processes whose group_dead mark is given away, for kernels that do not tell it: there two
 * threads that exit at once both see signal->live == 0.
 */
struct process_key {
	__u64 start_ns;
	__u64 tgid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, __u8);
} dead_groups SEC(".maps");

/* At the end of copy_process: pid, parent and cgroup of the child are final, also for io workers.
 */
SEC("tp_btf/task_newtask")
int BPF_PROG(on_fork, struct task_struct *child, __u64 clone_flags)
{
	enum task_count count = child->pid == child->tgid ? COUNT_FORK_PROCESS : COUNT_FORK_THREAD;
	struct task_event *e = event_begin(TASK_FORK, count, child);
	__u64 caller = bpf_get_current_pid_tgid();

	if (!e)
		return 0; /* counted by event_begin */
	e->fork.clone_flags = clone_flags;
	e->fork.caller_pid = caller;
	e->fork.caller_tgid = caller >> 32;
	return event_submit(e);
}

/* Send filename and argv ahead of the event. Returns flags to set in it. */
static __always_inline __u32 send_args(struct task_event *e, struct task_struct *task,
				       struct linux_binprm *bprm)
{
	struct mm_struct *mm = task->mm;
	__u64 start = mm->arg_start;
	__u64 bytes = mm->arg_end - start;
	__u64 kept = bytes;
	__u32 zero = 0, flags = 0;
	struct exec_args *head = bpf_map_lookup_elem(&scratch, &zero);
	char *text;
	long filename;

	e->exec.args_bytes = bytes;
	if (!head)
		return FLAG_ARGS_LOST;
	text = (char *)(head + 1);
	filename = bpf_probe_read_kernel_str(text, FILENAME_MAX, bprm->filename);
	if (filename < 1 || filename > FILENAME_MAX)
		return FLAG_ARGS_LOST;
	if (filename == FILENAME_MAX)
		flags |= FLAG_FILENAME_TRUNCATED;
	filename--;
	if (kept > settings.args_max)
		kept = settings.args_max;
	if (kept > TASK_ARGS_MAX)
		kept = TASK_ARGS_MAX;
	if (kept < bytes)
		flags |= FLAG_ARGS_TRUNCATED;
	if (bpf_probe_read_user(text + filename, kept, (void *)start))
		return FLAG_ARGS_LOST;
	head->seq = e->seq;
	head->cpu = e->cpu;
	head->filename_bytes = filename;
	head->args_bytes = kept;
	if (bpf_ringbuf_output(&args, head, sizeof(*head) + filename + kept, wake_flags(&args))) {
		struct cpu_totals *cpu = cpu_totals();

		if (cpu)
			__sync_fetch_and_add(&cpu->args_lost, 1);
		return FLAG_ARGS_LOST;
	}
	return flags;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct task_event *e = event_begin(TASK_EXEC, COUNT_EXEC, task);

	if (!e)
		return 0; /* counted by event_begin */
	e->exec.old_pid = old_pid;
	e->exec.argc = bprm->argc;
	e->flags |= send_args(e, task, bprm);
	return event_submit(e);
}

/* True for exactly one exiting task of a process. */
static __always_inline bool claim_group_dead(struct task_struct *task)
{
	struct process_key key = {};
	__u8 one = 1;

	if (task->signal->live.counter)
		return false;
	key.start_ns = task->group_leader->start_boottime;
	key.tgid = task->tgid;
	if (task->signal->nr_threads == 1)
		return !bpf_map_lookup_elem(&dead_groups, &key);
	return !bpf_map_update_elem(&dead_groups, &key, &one, BPF_NOEXIST);
}

static __always_inline int exit_event(struct task_struct *task, bool group_dead)
{
	struct signal_struct *signal = task->signal;
	struct task_event *e =
		event_begin(TASK_EXIT, group_dead ? COUNT_EXIT_PROCESS : COUNT_EXIT_THREAD, task);

	if (!e)
		return 0; /* counted by event_begin */
	e->exit.exit_code = task->exit_code;
	e->exit.threads_left = signal->live.counter;
	e->exit.utime_ns = task->utime;
	e->exit.stime_ns = task->stime;
	e->exit.runtime_ns = task->se.sum_exec_runtime;
	e->exit.minor_faults = task->min_flt;
	e->exit.major_faults = task->maj_flt;
	e->exit.voluntary_switches = task->nvcsw;
	e->exit.involuntary_switches = task->nivcsw;
	if (bpf_core_field_exists(task->ioac.read_bytes)) {
		e->exit.read_bytes = task->ioac.read_bytes;
		e->exit.written_bytes = task->ioac.write_bytes;
	} else {
		e->flags |= FLAG_IO_UNKNOWN;
	}
	if (group_dead) {
		e->flags |= FLAG_GROUP_DEAD;
		e->exit.max_rss_bytes = signal->maxrss * settings.page_bytes;
	}
	return event_submit(e);
}

SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	if (bpf_core_field_exists(struct trace_event_raw_sched_process_exit, group_dead) &&
	    !settings.last_thread_by_map)
		return exit_event(task, ctx[1] & 1);
	return exit_event(task, claim_group_dead(task));
}

/*
 * Runs from an RCU callback, some time after release_task. By then the parent and the leader may
 * be gone, and their memory another task's. Believe the parent only if it started before its
 * child, and the leader only if it has the same signal_struct, which the task keeps alive.
 */
SEC("tp_btf/sched_process_free")
int BPF_PROG(on_free, struct task_struct *task)
{
	struct task_event *e = event_begin(TASK_FREE, COUNT_FREE, task);

	if (!e)
		return 0; /* counted by event_begin */
	if (!e->parent_start_ns || e->parent_start_ns > e->start_ns ||
	    task->real_parent->start_boottime > e->start_ns) {
		e->parent_start_ns = 0;
		e->ppid = 0;
		e->flags |= FLAG_PARENT_UNKNOWN;
	}
	if (task->group_leader->signal != task->signal) {
		e->process_start_ns = 0;
		e->flags |= FLAG_PROCESS_UNKNOWN;
	}
	return event_submit(e);
}

static __always_inline int fail_event(enum task_call call, enum task_count count, long ret)
{
	struct task_event *e;

	if (ret >= 0 || ret <= -ERESTARTSYS)
		return 0; /* the kernel repeats the call by itself: the caller sees no error */
	e = event_begin(TASK_FAIL, count, bpf_get_current_task_btf());
	if (!e)
		return 0; /* counted by event_begin */
	e->fail.call = call;
	e->fail.errno = -ret;
	return event_submit(e);
}

#define FAIL_PROBE(syscall, call, count)                                                           \
	SEC("tp/syscalls/sys_exit_" #syscall)                                                      \
	int on_##syscall##_return(struct trace_event_raw_sys_exit *ctx)                            \
	{                                                                                          \
		return fail_event(call, count, ctx->ret);                                          \
	}

FAIL_PROBE(fork, CALL_FORK, COUNT_FAIL_CREATE)
FAIL_PROBE(vfork, CALL_VFORK, COUNT_FAIL_CREATE)
FAIL_PROBE(clone, CALL_CLONE, COUNT_FAIL_CREATE)
FAIL_PROBE(clone3, CALL_CLONE3, COUNT_FAIL_CREATE)
FAIL_PROBE(execve, CALL_EXECVE, COUNT_FAIL_EXEC)
FAIL_PROBE(execveat, CALL_EXECVEAT, COUNT_FAIL_EXEC)

/* The snapshot: one record per task, read by the agent through the iterator's descriptor. */
SEC("iter/task")
int on_snapshot(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct task_event e = {};

	if (!task)
		return 0;
	if (!agent_tgid)
		agent_tgid = bpf_get_current_pid_tgid() >> 32;
	fill(&e, TASK_TASK, task);
	e.boot_ns = bpf_ktime_get_boot_ns();
	if (task->exit_state)
		e.flags |= FLAG_ZOMBIE;
	bpf_seq_write(seq, &e, sizeof(e));
	return 0;
}
