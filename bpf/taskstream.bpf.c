// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CO-RE programs: where each kind of event is caught. User space loads those that the chosen
 * mode needs and the kernel allows (taskstream.hook); a target that depends on the kernel is set
 * there, too. What the programs do is in probe.h.
 *
 * Compiled twice: with NUMBERS_BY_CLAIM for kernels whose BPF has no atomic fetch-and-add.
 */
#include "core.h"
#include "probe.h"

char LICENSE[] SEC("license") = "GPL";

/* --- in every mode --- */

SEC("tp_btf/task_newtask")
int BPF_PROG(on_fork, struct task_struct *child, __u64 clone_flags)
{
	return fork_event(ctx, TYPED, child, clone_flags);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return exec_event(ctx, TYPED, task, old_pid, bprm);
}

SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	if (EXIT_HAS_GROUP_DEAD && !SETTING(last_thread_by_map))
		return exit_event(ctx, TYPED, task, ctx[1] & 1);
	return exit_event(ctx, TYPED, task, claim_group_dead(TYPED, task));
}

/* --- trampoline --- */

SEC("fentry/cgroup_release")
int BPF_PROG(on_release_fentry, struct task_struct *task)
{
	return release_event(ctx, TYPED, task);
}

SEC("fexit/kernel_clone")
int BPF_PROG(on_create_fexit, void *args, int ret)
{
	return fail_event(ctx, CALL_KERNEL_CLONE, COUNT_FAIL_CREATE, ret);
}

SEC("fexit")
int BPF_PROG(on_execve_fexit, void *regs, long ret)
{
	return fail_event(ctx, CALL_EXECVE, COUNT_FAIL_EXEC, ret);
}

SEC("fexit")
int BPF_PROG(on_execveat_fexit, void *regs, long ret)
{
	return fail_event(ctx, CALL_EXECVEAT, COUNT_FAIL_EXEC, ret);
}

/* --- probe --- */

SEC("kprobe")
int on_release_kprobe(struct pt_regs *ctx)
{
	return release_event(ctx, PROBED, first_argument(ctx));
}

SEC("kretprobe")
int on_create_kretprobe(struct pt_regs *ctx)
{
	return fail_event(ctx, CALL_KERNEL_CLONE, COUNT_FAIL_CREATE, (int)return_value(ctx));
}

SEC("kretprobe")
int on_execve_kretprobe(struct pt_regs *ctx)
{
	return fail_event(ctx, CALL_EXECVE, COUNT_FAIL_EXEC, return_value(ctx));
}

SEC("kretprobe")
int on_execveat_kretprobe(struct pt_regs *ctx)
{
	return fail_event(ctx, CALL_EXECVEAT, COUNT_FAIL_EXEC, return_value(ctx));
}

/* --- tracepoint --- */

SEC("tp_btf/sched_process_free")
int BPF_PROG(on_free, struct task_struct *task)
{
	return free_event(ctx, TYPED, task);
}

#define FAIL_PROBE(syscall, call, count)                                                           \
	SEC("tp/syscalls/sys_exit_" #syscall)                                                      \
	int on_##syscall##_return(struct trace_event_raw_sys_exit *ctx)                            \
	{                                                                                          \
		return fail_event(ctx, call, count, ctx->ret);                                     \
	}

FAILING_CALLS(FAIL_PROBE)

/* --- the names of cgroups --- */

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	return cgroup_event(ctx, 0, cgroup, path, false);
}

SEC("tp_btf/cgroup_rename")
int BPF_PROG(on_cgroup_rename, struct cgroup *cgroup, const char *path)
{
	return cgroup_event(ctx, 1, cgroup, path, false);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	return cgroup_event(ctx, 2, cgroup, path, true);
}

/*
 * The snapshot: one record per task, read by the agent through the iterator's descriptor. PROBED,
 * for the reason that stands at name_process.
 */
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
	fill(&e, PROBED, KIND_TASK, task, process_start(PROBED, task));
	e.boot_ns = bpf_ktime_get_boot_ns();
	if (task->exit_state)
		e.flags |= FLAG_ZOMBIE;
	bpf_seq_write(seq, &e, sizeof(e));
	return 0;
}
