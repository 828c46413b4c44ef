// SPDX-License-Identifier: Apache-2.0
/*
 * fail HOW ...: calls that fail. Each prints `call NAME ERRNO` with the errno that the caller
 * got; a call that succeeds is an error of the workload.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "workload.h"

#define UNUSED_UID 48611

static void expect_failure(const char *call, long result)
{
	int code = errno;

	if (!result)
		_exit(0); /* a child that should not be */
	if (result != -1) {
		fprintf(stderr, "%s succeeded\n", call);
		exit(97);
	}
	printf("call %s %d\n", call, code);
}

static void create_in_every_way(int count)
{
	struct clone_args args = {.exit_signal = SIGCHLD};

	while (count--) {
#ifdef SYS_fork
		expect_failure("fork", syscall(SYS_fork));
		expect_failure("vfork", syscall(SYS_vfork));
#endif
		expect_failure("clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
		expect_failure("clone3", clone3(&args));
	}
}

static void limit_processes(void)
{
	struct rlimit one = {1, 1};

	if (setrlimit(RLIMIT_NPROC, &one) || setgid(UNUSED_UID) || setuid(UNUSED_UID))
		die("setuid");
}

static void forbid(int code)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_fork
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 3, 0),
#endif
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		die("seccomp");
}

static void exec_one(const char *path, char **argv)
{
	char *none[] = {NULL};

	expect_failure("execve", syscall(SYS_execve, path, argv, none));
	expect_failure("execveat", syscall(SYS_execveat, AT_FDCWD, path, argv, none, 0));
}

/* What the test laid ready in the working directory, and what needs no file. */
static void exec_in_every_way(void)
{
	static char long_text[200000], long_name[5000];
	char *plain[] = {"x", NULL}, *big[] = {"x", long_text, NULL}, *none[] = {NULL};
	const char *paths[] = {"missing", "unreadable", "directory", "no_format", "loop",
			       "no_format/below", "busy", "wrong_interpreter"};
	int busy = open("busy", O_WRONLY);
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		exec_one(paths[i], plain);
	memset(long_text, 'a', sizeof(long_text) - 1);
	exec_one(SELF, big);
	memset(long_name, 'a', sizeof(long_name) - 1);
	exec_one(long_name, plain);
	exec_one((void *)8, plain);
	expect_failure("execveat", syscall(SYS_execveat, 999, "x", plain, none, 0));
	expect_failure("execveat", syscall(SYS_execveat, AT_FDCWD, "x", plain, none, 1));
	expect_failure("execveat",
		       syscall(SYS_execveat, AT_FDCWD, "link", plain, none, AT_SYMLINK_NOFOLLOW));
	close(busy);
}

static pid_t target;
static volatile int forking = 1, signals_seen;

static void count_signal(int number)
{
	signals_seen++;
}

/* One at a time, at moments that drift over the system call of the other thread. */
static void *signal_often(void *unused)
{
	int sent = 0;

	while (forking) {
		volatile int pause = sent++ % 1009 * 8;

		while (pause--)
			;
		tgkill(target, target, SIGUSR1);
		while (forking && signals_seen < sent)
			sched_yield();
	}
	return NULL;
}

/* Signals that restart a fork inside the kernel are no failure: the caller never sees one. */
static void interrupted_forks(int count)
{
	struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
	int failed = 0, made = 0;
	pthread_t other;

	sigaction(SIGUSR1, &action, NULL);
	target = getpid();
	other = start_thread(signal_often, NULL);
	while (made + failed < count) {
		pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

		if (!pid)
			_exit(0);
		if (pid < 0)
			failed++;
		else if (waitpid(pid, NULL, 0) == pid)
			made++;
	}
	forking = 0;
	pthread_join(other, NULL);
	printf("made %d\nfailed %d\n", made, failed);
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	int number = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(how, "exec")) {
		exec_in_every_way();
	} else if (!strcmp(how, "nproc")) {
		limit_processes();
		create_in_every_way(number);
	} else if (!strcmp(how, "here")) {
		wait_for_input(); /* until the test has put us into a cgroup that is full */
		create_in_every_way(number);
	} else if (!strcmp(how, "seccomp")) {
		forbid(atoi(argv[3]));
		create_in_every_way(number);
	} else if (!strcmp(how, "interrupted")) {
		interrupted_forks(number);
	}
	return 0;
}
