// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs that BCC compiles at the start of the agent (`ebpf type format = legacy`): the
 * same as in taskstream.bpf.c, at hooks that need no BTF. User space loads those that it attaches.
 */
#include "legacy.h"
#include "probe.h"

#define TASK(number) ((struct task_struct *)ctx->args[number])

int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	return fork_event(ctx, PROBED, TASK(0), ctx->args[1]);
}

int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	return exec_event(ctx, PROBED, TASK(0), ctx->args[1], (struct linux_binprm *)ctx->args[2]);
}

int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
#if SETTING_last_thread_by_map
	return exit_event(ctx, PROBED, TASK(0), claim_group_dead(PROBED, TASK(0)));
#else
	return exit_event(ctx, PROBED, TASK(0), ctx->args[1] & 1);
#endif
}

int on_free(struct bpf_raw_tracepoint_args *ctx)
{
	return free_event(ctx, PROBED, TASK(0));
}

#define CGROUP_PROBE(action, index, gone)                                                          \
	int on_cgroup_##action(struct bpf_raw_tracepoint_args *ctx)                                \
	{                                                                                          \
		return cgroup_event(ctx, index, (struct cgroup *)ctx->args[0],                     \
				    (const char *)ctx->args[1], gone);                             \
	}

CGROUP_PROBE(mkdir, 0, false)
CGROUP_PROBE(rename, 1, false)
CGROUP_PROBE(rmdir, 2, true)

#if SETTING_kprobes
int on_release_kprobe(struct pt_regs *ctx)
{
	return release_event(ctx, PROBED, (struct task_struct *)PT_REGS_PARM1(ctx));
}

int on_create_kretprobe(struct pt_regs *ctx)
{
	return fail_event(ctx, CALL_KERNEL_CLONE, COUNT_FAIL_CREATE, (int)PT_REGS_RC(ctx));
}

int on_execve_kretprobe(struct pt_regs *ctx)
{
	return fail_event(ctx, CALL_EXECVE, COUNT_FAIL_EXEC, PT_REGS_RC(ctx));
}

int on_execveat_kretprobe(struct pt_regs *ctx)
{
	return fail_event(ctx, CALL_EXECVEAT, COUNT_FAIL_EXEC, PT_REGS_RC(ctx));
}
#endif

/* The record of a system call's tracepoint, as its `format` file says. */
struct sys_exit_record {
	char before[SETTING_sys_exit_ret_at];
	long ret;
};

#define FAIL_PROBE(syscall, call, count)                                                           \
	int on_##syscall##_return(struct sys_exit_record *ctx)                                     \
	{                                                                                          \
		return fail_event(ctx, call, count, ctx->ret);                                     \
	}

FAILING_CALLS(FAIL_PROBE)
