// SPDX-License-Identifier: Apache-2.0
/* end HOW ...: let children end in one known way each, and reap them. */
#include <stdatomic.h>

#include "workload.h"

static pid_t process;

static void end_thread(int status)
{
	syscall(SYS_exit, status);
	__builtin_unreachable();
}

/* The leader is gone, as /proc has it, and its process lives on. */
static void *outlive_leader(void *status)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", process);
	while (state != 'Z') {
		FILE *file = fopen(path, "r");

		if (!file || fscanf(file, "%*d %*[^)]) %c", &state) != 1)
			die(path);
		fclose(file);
	}
	end_thread((long)status);
	return NULL;
}

static void leader_first(int leader_status, long thread_status)
{
	process = getpid();
	start_thread(outlive_leader, (void *)thread_status);
	end_thread(leader_status);
}

static void *outlive_leader_and_tell(void *status)
{
	printf("zapped %d %d\n", process, gettid());
	fflush(stdout);
	return outlive_leader(status);
}

/* Nobody waits for the process: the last thread's release releases the leader, in the same call. */
static void zap(void)
{
	process = getpid();
	start_thread(outlive_leader_and_tell, (void *)5);
	end_thread(3);
}

static pthread_barrier_t all_here;

static void *end_with_the_others(void *unused)
{
	pthread_barrier_wait(&all_here);
	end_thread(0);
	return NULL;
}

static void together(int threads)
{
	int i;

	pthread_barrier_init(&all_here, NULL, threads);
	for (i = 1; i < threads; i++)
		start_thread(end_with_the_others, NULL);
	end_with_the_others(NULL);
}

static atomic_int spinning;

static void *end_at_once(void *unused)
{
	spinning++;
	while (spinning < 2)
		;
	end_thread(0);
	return NULL;
}

/* Two threads, each on a CPU of its own if there are two: neither sleeps before its end. */
static void at_once(void)
{
	start_thread(end_at_once, NULL);
	end_at_once(NULL);
}

static void *end_the_group(void *status)
{
	syscall(SYS_exit_group, (long)status);
	return NULL;
}

static void exit_group_from_a_thread(long status)
{
	start_thread(end_the_group, (void *)status);
	for (;;)
		pause();
}

static void by_signal(int number, long core_bytes)
{
	struct rlimit limit = {core_bytes, core_bytes};

	if (setrlimit(RLIMIT_CORE, &limit))
		die("setrlimit");
	signal(number, SIG_DFL);
	kill(getpid(), number);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	int first = atoi(argv[2]);
	long second = argc > 3 ? atol(argv[3]) : 0;
	int rounds = 1, i;

	if (!strcmp(how, "statuses") || !strcmp(how, "at_once") || !strcmp(how, "zap"))
		rounds = first;
	if (!strcmp(how, "together"))
		rounds = second;

	if (!strcmp(how, "zap"))
		signal(SIGCHLD, SIG_IGN);

	for (i = 0; i < rounds; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid) {
			if (!strcmp(how, "statuses"))
				_exit(i);
			if (!strcmp(how, "zombie"))
				_exit(first);
			if (!strcmp(how, "together"))
				together(first);
			if (!strcmp(how, "at_once"))
				at_once();
			if (!strcmp(how, "leader_first"))
				leader_first(first, second);
			if (!strcmp(how, "zap"))
				zap();
			if (!strcmp(how, "exit_group"))
				exit_group_from_a_thread(first);
			if (!strcmp(how, "signal"))
				by_signal(first, second);
			die(how);
		}
		if (!strcmp(how, "zombie")) {
			printf("zombie %d\n", pid);
			wait_for_input();
		}
		if (strcmp(how, "zap"))
			reap(pid);
		else if (wait4(pid, NULL, 0, NULL) >= 0 || errno != ECHILD)
			die("somebody reaped"); /* it returns when the process is gone */
	}
	return 0;
}
