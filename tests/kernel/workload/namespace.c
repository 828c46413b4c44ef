// SPDX-License-Identifier: Apache-2.0
/* namespace HOW ...: tasks in pid namespaces of their own, and pids that are used again. */
#include "workload.h"

#define INNER_PID 4711

/* The caller's pid in the namespace of the /proc that is mounted: the host's. */
static int host_pid(void)
{
	char text[16] = "";

	if (readlink("/proc/self", text, sizeof(text) - 1) < 0)
		die("/proc/self");
	return atoi(text);
}

static unsigned long own_namespace(void)
{
	struct stat stat_;

	if (stat("/proc/self/ns/pid", &stat_))
		die("/proc/self/ns/pid");
	return stat_.st_ino;
}

static void tell(void)
{
	printf("inside %d %lu %d\n", host_pid(), own_namespace(), getpid());
	fflush(stdout);
}

/* A child with a pid that it is given, in as many namespaces as there are pids. */
static void child_with_pids(int *pids, int count)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (unsigned long)pids,
		.set_tid_size = count,
	};
	pid_t pid = clone3(&args);

	if (pid < 0)
		die("clone3 with set_tid");
	if (!pid) {
		tell();
		_exit(0);
	}
	if (waitpid(pid, NULL, 0) != pid)
		die("waitpid");
}

/* As init of a new namespace: use one pid several times, then make a namespace in this one. */
static void inside(int times, int depth)
{
	struct clone_args args = {.exit_signal = SIGCHLD, .flags = CLONE_NEWPID};
	int pid = INNER_PID, i;

	tell();
	for (i = 0; i < times; i++)
		child_with_pids(&pid, 1);
	if (!depth)
		return;
	pid = clone3(&args);
	if (pid < 0)
		die("clone3");
	if (!pid) {
		inside(times, depth - 1);
		_exit(0);
	}
	if (waitpid(pid, NULL, 0) != pid)
		die("waitpid");
}

static void *nothing(void *unused)
{
	printf("thread %d\n", gettid());
	return NULL;
}

int main(int argc, char **argv)
{
	struct clone_args args = {.exit_signal = SIGCHLD, .flags = CLONE_NEWPID};
	const char *how = argv[1];
	int number = atoi(argv[2]), i;
	pid_t pid;

	if (!strcmp(how, "reuse")) {
		pid = fork();
		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
		printf("used %d\n", pid);
		fflush(stdout);
		for (i = 0; i < number; i++)
			child_with_pids(&pid, 1);
		return 0;
	}
	pid = clone3(&args);
	if (pid < 0)
		die("clone3");
	if (!pid) {
		if (!strcmp(how, "inner"))
			inside(number, 1);
		if (!strcmp(how, "hold")) {
			tell();
			wait_for_input();
		}
		if (!strcmp(how, "thread")) {
			tell();
			pthread_join(start_thread(nothing, NULL), NULL);
		}
		exit(0);
	}
	reap(pid);
	return 0;
}
