/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of the kernel's types that the probes read.
 *
 * Only names and types of members matter here, never their places. The CO-RE object is relocated
 * by libbpf to where the running kernel has each member, so it is built the same on any machine.
 * For BCC, which cannot relocate, taskstream.source.kernel_tree rewrites this text with every
 * member at its place. Where kernels differ, the differing shapes stand together, newest first.
 */
#ifndef KERNEL_H
#define KERNEL_H

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	unsigned long maxrss;
};

struct task_io_accounting {
	__u64 read_bytes;
	__u64 write_bytes;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

struct task_struct {
	unsigned int flags;
	struct sched_entity se;
	struct mm_struct *mm;
	int exit_state;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 utime;
	__u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	__u64 start_boottime;
	unsigned long min_flt;
	unsigned long maj_flt;
	const struct cred *real_cred;
	char comm[16];
	struct signal_struct *signal;
	struct task_io_accounting ioac;
	struct css_set *cgroups;
};

struct linux_binprm {
	int argc;
	const char *filename;
};

/* x86-64 has di and ax, arm64 has regs. */
struct pt_regs {
	unsigned long di;
	unsigned long ax;
	__u64 regs[31];
};

#endif
