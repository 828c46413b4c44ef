// SPDX-License-Identifier: Apache-2.0
/* exec HOW ...: replace the program in one known way. */
#include "workload.h"

extern char **environ;

static pthread_barrier_t all_here;

static void *exec_exit(void *unused)
{
	printf("caller %d\n", gettid());
	pthread_barrier_wait(&all_here);
	fflush(stdout);
	execl(SELF, "exec", "exit", "5", NULL);
	die("exec");
	return NULL;
}

static void *wait_forever(void *unused)
{
	printf("other %d\n", gettid());
	pthread_barrier_wait(&all_here);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	const char *how = argv[1];

	if (!strcmp(how, "exit")) {
		return atoi(argv[2]);
	} else if (!strcmp(how, "named")) {
		execve(argv[2], argv + 3, environ);
		die("execve");
	} else if (!strcmp(how, "as")) {
		if (setgid(atoi(argv[3])) || setuid(atoi(argv[2])))
			die("setuid");
		execl(SELF, "exec", "exit", "0", NULL);
		die("execl");
	} else if (!strcmp(how, "by_descriptor")) {
		int file = open(argv[2], O_PATH);

		printf("descriptor %d\n", file);
		fflush(stdout);
		syscall(SYS_execveat, file, "", argv + 2, environ, AT_EMPTY_PATH);
		die("execveat");
	} else if (!strcmp(how, "below_descriptor")) {
		int directory = open(argv[2], O_PATH);

		printf("descriptor %d\n", directory);
		fflush(stdout);
		syscall(SYS_execveat, directory, argv[3], argv + 3, environ, 0);
		die("execveat");
	} else if (!strcmp(how, "twice")) {
		execl(SELF, "exec", "again", NULL);
		die("execl");
	} else if (!strcmp(how, "again")) {
		execl(SELF, "exec", "exit", "0", NULL);
		die("execl");
	} else if (!strcmp(how, "from_a_thread")) {
		pthread_barrier_init(&all_here, NULL, 3);
		start_thread(wait_forever, NULL);
		start_thread(wait_forever, NULL);
		start_thread(exec_exit, NULL);
		for (;;)
			pause();
	} else if (!strcmp(how, "clock")) {
		/* Four moments around a fork, an exec and an exit. */
		printf("before_fork %llu\n", boot_ns());
		fflush(stdout);
		if (!fork()) {
			printf("before_exec %llu\n", boot_ns());
			fflush(stdout);
			execl(SELF, "exec", "clock_end", NULL);
			die("execl");
		}
		reap(-1);
		printf("after_exit %llu\n", boot_ns());
	} else if (!strcmp(how, "clock_end")) {
		printf("after_exec %llu\n", boot_ns());
	}
	return 0;
}
