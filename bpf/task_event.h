/* SPDX-License-Identifier: GPL-2.0-only */
/* Generated from schemas/task_event.toml by `make schemas`: do not edit. */
#ifndef TASK_EVENT_H
#define TASK_EVENT_H

#define TASK_EVENT_VERSION 1
#define TASK_ARGS_MAX 16384

enum task_kind {
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_EXIT = 3,
	KIND_FREE = 4,
	KIND_FAIL = 5,
	KIND_TASK = 6,
};

enum task_flag {
	FLAG_THREAD = 1,
	FLAG_KERNEL_THREAD = 2,
	FLAG_IO_WORKER = 4,
	FLAG_AGENT = 8,
	FLAG_GROUP_DEAD = 16,
	FLAG_ARGS_TRUNCATED = 32,
	FLAG_ARGS_LOST = 64,
	FLAG_FILENAME_TRUNCATED = 128,
	FLAG_ZOMBIE = 256,
	FLAG_PARENT_UNKNOWN = 512,
	FLAG_PIDNS_UNKNOWN = 1024,
	FLAG_REAPER_KNOWN = 2048,
	FLAG_START_COARSE = 4096,
	FLAG_TEXT_ESCAPED = 8192,
	FLAG_CGROUP_UNKNOWN = 16384,
	FLAG_IO_UNKNOWN = 32768,
	FLAG_PROCESS_UNKNOWN = 65536,
};

enum task_call {
	CALL_FORK = 1,
	CALL_VFORK = 2,
	CALL_CLONE = 3,
	CALL_CLONE3 = 4,
	CALL_EXECVE = 5,
	CALL_EXECVEAT = 6,
	CALL_KERNEL_CLONE = 7,
};

enum task_count {
	COUNT_FORK_PROCESS = 0,
	COUNT_FORK_THREAD = 1,
	COUNT_EXEC = 2,
	COUNT_EXIT_THREAD = 3,
	COUNT_EXIT_PROCESS = 4,
	COUNT_FREE = 5,
	COUNT_FAIL_CREATE = 6,
	COUNT_FAIL_EXEC = 7,
	COUNT_N = 8,
};

struct task_event {
	__u8 version;
	__u8 kind;
	__u16 cpu;
	__u32 flags;
	__u64 seq;
	__u64 boot_ns;
	__u64 start_ns;
	__u64 process_start_ns;
	__u64 parent_start_ns;
	__u64 cgroup_id;
	__u32 pid;
	__u32 tgid;
	__u32 ppid;
	__u32 uid;
	__u32 gid;
	__u32 pidns;
	__u32 pidns_pid;
	__u32 pidns_tgid;
	char comm[16];
	union {
		struct {
			__u64 clone_flags;
			__u32 caller_pid;
			__u32 caller_tgid;
		} fork;
		struct {
			__u32 old_pid;
			__u32 argc;
			__u32 args_bytes;
		} exec;
		struct {
			__s32 exit_code;
			__u32 threads_left;
			__u64 utime_ns;
			__u64 stime_ns;
			__u64 runtime_ns;
			__u64 minor_faults;
			__u64 major_faults;
			__u64 max_rss_bytes;
			__u64 read_bytes;
			__u64 written_bytes;
			__u64 voluntary_switches;
			__u64 involuntary_switches;
		} exit;
		struct {
			__u32 reaper_tgid;
		} free;
		struct {
			__u32 call;
			__u32 errno;
		} fail;
		__u64 tail[11];
	};
};
_Static_assert(sizeof(struct task_event) == 192, "task_event");
_Static_assert(__builtin_offsetof(struct task_event, version) == 0,
	       "version");
_Static_assert(__builtin_offsetof(struct task_event, kind) == 1,
	       "kind");
_Static_assert(__builtin_offsetof(struct task_event, cpu) == 2,
	       "cpu");
_Static_assert(__builtin_offsetof(struct task_event, flags) == 4,
	       "flags");
_Static_assert(__builtin_offsetof(struct task_event, seq) == 8,
	       "seq");
_Static_assert(__builtin_offsetof(struct task_event, boot_ns) == 16,
	       "boot_ns");
_Static_assert(__builtin_offsetof(struct task_event, start_ns) == 24,
	       "start_ns");
_Static_assert(__builtin_offsetof(struct task_event, process_start_ns) == 32,
	       "process_start_ns");
_Static_assert(__builtin_offsetof(struct task_event, parent_start_ns) == 40,
	       "parent_start_ns");
_Static_assert(__builtin_offsetof(struct task_event, cgroup_id) == 48,
	       "cgroup_id");
_Static_assert(__builtin_offsetof(struct task_event, pid) == 56,
	       "pid");
_Static_assert(__builtin_offsetof(struct task_event, tgid) == 60,
	       "tgid");
_Static_assert(__builtin_offsetof(struct task_event, ppid) == 64,
	       "ppid");
_Static_assert(__builtin_offsetof(struct task_event, uid) == 68,
	       "uid");
_Static_assert(__builtin_offsetof(struct task_event, gid) == 72,
	       "gid");
_Static_assert(__builtin_offsetof(struct task_event, pidns) == 76,
	       "pidns");
_Static_assert(__builtin_offsetof(struct task_event, pidns_pid) == 80,
	       "pidns_pid");
_Static_assert(__builtin_offsetof(struct task_event, pidns_tgid) == 84,
	       "pidns_tgid");
_Static_assert(__builtin_offsetof(struct task_event, comm) == 88,
	       "comm");
_Static_assert(__builtin_offsetof(struct task_event, fork.clone_flags) == 104,
	       "fork.clone_flags");
_Static_assert(__builtin_offsetof(struct task_event, fork.caller_pid) == 112,
	       "fork.caller_pid");
_Static_assert(__builtin_offsetof(struct task_event, fork.caller_tgid) == 116,
	       "fork.caller_tgid");
_Static_assert(__builtin_offsetof(struct task_event, exec.old_pid) == 104,
	       "exec.old_pid");
_Static_assert(__builtin_offsetof(struct task_event, exec.argc) == 108,
	       "exec.argc");
_Static_assert(__builtin_offsetof(struct task_event, exec.args_bytes) == 112,
	       "exec.args_bytes");
_Static_assert(__builtin_offsetof(struct task_event, exit.exit_code) == 104,
	       "exit.exit_code");
_Static_assert(__builtin_offsetof(struct task_event, exit.threads_left) == 108,
	       "exit.threads_left");
_Static_assert(__builtin_offsetof(struct task_event, exit.utime_ns) == 112,
	       "exit.utime_ns");
_Static_assert(__builtin_offsetof(struct task_event, exit.stime_ns) == 120,
	       "exit.stime_ns");
_Static_assert(__builtin_offsetof(struct task_event, exit.runtime_ns) == 128,
	       "exit.runtime_ns");
_Static_assert(__builtin_offsetof(struct task_event, exit.minor_faults) == 136,
	       "exit.minor_faults");
_Static_assert(__builtin_offsetof(struct task_event, exit.major_faults) == 144,
	       "exit.major_faults");
_Static_assert(__builtin_offsetof(struct task_event, exit.max_rss_bytes) == 152,
	       "exit.max_rss_bytes");
_Static_assert(__builtin_offsetof(struct task_event, exit.read_bytes) == 160,
	       "exit.read_bytes");
_Static_assert(__builtin_offsetof(struct task_event, exit.written_bytes) == 168,
	       "exit.written_bytes");
_Static_assert(__builtin_offsetof(struct task_event, exit.voluntary_switches) == 176,
	       "exit.voluntary_switches");
_Static_assert(__builtin_offsetof(struct task_event, exit.involuntary_switches) == 184,
	       "exit.involuntary_switches");
_Static_assert(__builtin_offsetof(struct task_event, free.reaper_tgid) == 104,
	       "free.reaper_tgid");
_Static_assert(__builtin_offsetof(struct task_event, fail.call) == 104,
	       "fail.call");
_Static_assert(__builtin_offsetof(struct task_event, fail.errno) == 108,
	       "fail.errno");

struct exec_args {
	__u64 seq;
	__u16 cpu;
	__u16 filename_bytes;
	__u32 args_bytes;
};
_Static_assert(sizeof(struct exec_args) == 16, "exec_args");
_Static_assert(__builtin_offsetof(struct exec_args, seq) == 0,
	       "seq");
_Static_assert(__builtin_offsetof(struct exec_args, cpu) == 8,
	       "cpu");
_Static_assert(__builtin_offsetof(struct exec_args, filename_bytes) == 10,
	       "filename_bytes");
_Static_assert(__builtin_offsetof(struct exec_args, args_bytes) == 12,
	       "args_bytes");

struct cpu_totals {
	__u64 seq;
	__u64 count[COUNT_N];
	__u64 lost[COUNT_N];
	__u64 unplaced[COUNT_N];
	__u64 uncharged[COUNT_N];
	__u64 args_lost;
};
_Static_assert(sizeof(struct cpu_totals) == 272, "cpu_totals");
_Static_assert(__builtin_offsetof(struct cpu_totals, seq) == 0,
	       "seq");
_Static_assert(__builtin_offsetof(struct cpu_totals, count) == 8,
	       "count");
_Static_assert(__builtin_offsetof(struct cpu_totals, lost) == 72,
	       "lost");
_Static_assert(__builtin_offsetof(struct cpu_totals, unplaced) == 136,
	       "unplaced");
_Static_assert(__builtin_offsetof(struct cpu_totals, uncharged) == 200,
	       "uncharged");
_Static_assert(__builtin_offsetof(struct cpu_totals, args_lost) == 264,
	       "args_lost");

struct window_totals {
	__u64 window;
	__u64 count[COUNT_N];
};
_Static_assert(sizeof(struct window_totals) == 72, "window_totals");
_Static_assert(__builtin_offsetof(struct window_totals, window) == 0,
	       "window");
_Static_assert(__builtin_offsetof(struct window_totals, count) == 8,
	       "count");

struct process_key {
	__u64 start_ns;
	__u32 tgid;
	__u32 zero;
};
_Static_assert(sizeof(struct process_key) == 16, "process_key");
_Static_assert(__builtin_offsetof(struct process_key, start_ns) == 0,
	       "start_ns");
_Static_assert(__builtin_offsetof(struct process_key, tgid) == 8,
	       "tgid");
_Static_assert(__builtin_offsetof(struct process_key, zero) == 12,
	       "zero");

struct process_losses {
	__u64 named_ns;
	__u64 parent_start_ns;
	__u64 cgroup_id;
	__u32 ppid;
	__u32 uid;
	char comm[16];
	__u64 count[COUNT_N];
};
_Static_assert(sizeof(struct process_losses) == 112, "process_losses");
_Static_assert(__builtin_offsetof(struct process_losses, named_ns) == 0,
	       "named_ns");
_Static_assert(__builtin_offsetof(struct process_losses, parent_start_ns) == 8,
	       "parent_start_ns");
_Static_assert(__builtin_offsetof(struct process_losses, cgroup_id) == 16,
	       "cgroup_id");
_Static_assert(__builtin_offsetof(struct process_losses, ppid) == 24,
	       "ppid");
_Static_assert(__builtin_offsetof(struct process_losses, uid) == 28,
	       "uid");
_Static_assert(__builtin_offsetof(struct process_losses, comm) == 32,
	       "comm");
_Static_assert(__builtin_offsetof(struct process_losses, count) == 48,
	       "count");

struct settings {
	__u32 schema_version;
	__u32 args_max;
	__u64 window_ns;
	__u64 wake_bytes;
	__u32 page_bytes;
	__u32 last_thread_by_map;
	__u32 perf_buffer;
	__u32 charge_losses;
	__u64 boot_offset_ns;
	__u64 no_boot_clock;
	__u32 cgroup_hierarchy;
	__u32 cgroup_slot;
};
_Static_assert(sizeof(struct settings) == 64, "settings");
_Static_assert(__builtin_offsetof(struct settings, schema_version) == 0,
	       "schema_version");
_Static_assert(__builtin_offsetof(struct settings, args_max) == 4,
	       "args_max");
_Static_assert(__builtin_offsetof(struct settings, window_ns) == 8,
	       "window_ns");
_Static_assert(__builtin_offsetof(struct settings, wake_bytes) == 16,
	       "wake_bytes");
_Static_assert(__builtin_offsetof(struct settings, page_bytes) == 24,
	       "page_bytes");
_Static_assert(__builtin_offsetof(struct settings, last_thread_by_map) == 28,
	       "last_thread_by_map");
_Static_assert(__builtin_offsetof(struct settings, perf_buffer) == 32,
	       "perf_buffer");
_Static_assert(__builtin_offsetof(struct settings, charge_losses) == 36,
	       "charge_losses");
_Static_assert(__builtin_offsetof(struct settings, boot_offset_ns) == 40,
	       "boot_offset_ns");
_Static_assert(__builtin_offsetof(struct settings, no_boot_clock) == 48,
	       "no_boot_clock");
_Static_assert(__builtin_offsetof(struct settings, cgroup_hierarchy) == 56,
	       "cgroup_hierarchy");
_Static_assert(__builtin_offsetof(struct settings, cgroup_slot) == 60,
	       "cgroup_slot");

#endif
