/* SPDX-License-Identifier: GPL-2.0-only */
/* What core.h and legacy.h agree on: sizes of maps, and ways to read the kernel's memory. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define WINDOW_SLOTS  64 /* a power of two; user space empties a slot long before its turn */
#define FILENAME_MAX  (4096 + 32) /* PATH_MAX, and the "/dev/fd/N/" that execveat puts before it */
#define SCRATCH_BYTES (sizeof(struct exec_args) + FILENAME_MAX + TASK_ARGS_MAX)
#define PATH_BYTES    4096
#define PATHS	      3
#define DRAFTS	      16
#define DEAD_GROUPS   16384
#define NUMBER_CLAIMS 4096

/* The name of a cgroup on its way, in the ring of arguments; nobody else there has this CPU. */
#define NAME_CPU 0xFFFF

struct cgroup_path {
	struct exec_args head;
	char path[PATH_BYTES];
};

/*
 * Programs that the verifier gives typed pointers (tp_btf, fentry, iterators) follow them without
 * a helper call per member, and a bad pointer reads as zero. Others ask a helper.
 */
enum access {
	TYPED,
	PROBED,
};

/* A number of a CPU, claimed by the first program that puts it into a map (number.h says why). */
struct number_claim {
	__u64 number;
	__u64 cpu;
};

/*
 * Where a program writes what is too large for its stack. Each has one of its own on each CPU:
 * programs nest on a CPU, but the kernel never nests one in itself.
 */
struct draft {
	struct task_event event;
	struct process_losses losses;
};

#endif
