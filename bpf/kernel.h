/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of the kernel's types that the probes read.
 *
 * Only names and types of members matter: libbpf relocates every access to where the running
 * kernel has the member (CO-RE). So the object is built the same on any machine, without the BTF
 * of one. Where kernels differ, the differing shapes stand together here, newest first.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PF_IO_WORKER   0x00000010
#define PF_USER_WORKER 0x00004000 /* 6.4: "fork: Add USER_WORKER flag to support user workers" */
#define PF_KTHREAD     0x00200000

#define ERESTARTSYS 512 /* include/linux/errno.h: from here on, never seen by user programs */

#define INIT_PID_NS_INUM 0xEFFFFFFCU /* PROC_PID_INIT_INO in include/linux/proc_ns.h */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

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

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
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

#endif
