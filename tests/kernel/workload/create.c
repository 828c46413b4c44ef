// SPDX-License-Identifier: Apache-2.0
/*
 * create HOW COUNT [FD]: make COUNT tasks, one after another. A process execs this program
 * again as `create exit STATUS` (a status of its own) and is reaped.
 */
#include <spawn.h>

#include "workload.h"

extern char **environ;

static pid_t create(const char *how, char **exit_argv, int fd)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	pid_t pid = -1;

	if (!strcmp(how, "spawn")) {
		errno = posix_spawn(&pid, SELF, NULL, NULL, exit_argv, environ);
		return errno ? -1 : pid;
	}
	if (!strcmp(how, "vfork")) {
		pid = vfork();
	} else if (!strcmp(how, "fork")) {
		pid = fork();
	} else if (!strcmp(how, "clone3")) {
		pid = clone3(&args);
	} else if (!strcmp(how, "into_cgroup")) {
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = fd;
		pid = clone3(&args);
	} else if (!strcmp(how, "clone_parent")) {
		args.flags = CLONE_PARENT;
		args.exit_signal = 0;
		pid = clone3(&args);
	}
	if (!pid) {
		execv(SELF, exit_argv);
		_exit(98);
	}
	return pid;
}

static void create_all(const char *how, int count, int fd, int reaped_here)
{
	char status[12];
	char *exit_argv[] = {"create", "exit", status, NULL};
	int i;

	for (i = 0; i < count; i++) {
		pid_t pid;

		snprintf(status, sizeof(status), "%d", i % 256);
		pid = create(how, exit_argv, fd);
		if (pid < 0)
			die(how);
		if (reaped_here)
			reap(pid);
	}
}

static void *report_thread(void *unused)
{
	printf("thread %d %llu\n", gettid(), boot_ns());
	return NULL;
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	int count = atoi(argv[2]);
	int fd = argc > 3 ? atoi(argv[3]) : -1;

	if (!strcmp(how, "exit"))
		return count;
	if (!strcmp(how, "thread")) {
		pthread_t threads[count];
		int i;

		printf("before %llu\n", boot_ns());
		for (i = 0; i < count; i++)
			threads[i] = start_thread(report_thread, NULL);
		for (i = 0; i < count; i++)
			pthread_join(threads[i], NULL);
	} else if (!strcmp(how, "clone_parent")) {
		/* A child makes siblings of its own, which are then ours to reap. */
		pid_t middle = fork();

		if (!middle) {
			create_all(how, count, fd, 0);
			_exit(0);
		}
		printf("middle %d\n", middle);
		for (count++; count; count--) {
			siginfo_t which;

			if (waitid(P_ALL, 0, &which, WEXITED | WNOWAIT | __WALL))
				die("waitid");
			if (syscall(SYS_wait4, which.si_pid, NULL, __WALL, NULL) < 0)
				die("wait4");
			printf("reaped %d\n", which.si_pid);
		}
	} else {
		create_all(how, count, fd, 1);
	}
	return 0;
}
