/*
 * A paced load: create a task, run what it is to run, wait for it, at a given rate.
 *
 * load exec|vfork|fork|fail RATE SECONDS CALLS PROGRAM
 *
 *   exec  vfork, exec of PROGRAM, wait   (fork, exec, exit, free)
 *   vfork vfork, exit, wait              (fork, exit, free)
 *   fork  fork, exit, wait               (the same)
 *   fail  exec of a file that is not there
 *
 * Calls are due at multiples of 1/RATE s from the start; one that is late is made at once, so
 * the rate holds on average where the machine can reach it. RATE 0 does not wait at all. It
 * ends after SECONDS or CALLS, whichever is given (0: not given), and prints
 * "calls N ns T": what was done, and how long that took.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ULL

static unsigned long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static void sleep_until(unsigned long long due)
{
	struct timespec t = {.tv_sec = due / SECOND, .tv_nsec = due % SECOND};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

/* One call; its number is an argument, so that no two command lines are the same. */
static int call(char mode, char *program, unsigned long long number)
{
	char job[32];
	char *argv[] = {program, "--output", job, NULL};
	pid_t child;
	int status;

	snprintf(job, sizeof(job), "part-%llu.o", number);
	if (mode == 'n')
		return execv("/nonexistent/program", argv) != -1;
	child = mode == 'f' ? fork() : vfork();
	if (child == 0) {
		if (mode == 'e')
			execv(program, argv);
		_exit(mode == 'e' ? 127 : 0);
	}
	return child < 0 || waitpid(child, &status, 0) != child || status;
}

int main(int argc, char **argv)
{
	unsigned long long rate, end, most, start, number = 0;
	char mode;

	if (argc != 6)
		return 2;
	mode = !strcmp(argv[1], "fail") ? 'n' : argv[1][0];
	rate = strtoull(argv[2], NULL, 10);
	most = strtoull(argv[4], NULL, 10);
	start = now();
	end = strtod(argv[3], NULL) * SECOND;
	for (;; number++) {
		if (end && now() - start >= end)
			break;
		if (most && number >= most)
			break;
		if (rate)
			sleep_until(start + number * SECOND / rate);
		if (call(mode, argv[5], number)) {
			fprintf(stderr, "load: call %llu failed\n", number);
			return 1;
		}
	}
	printf("calls %llu ns %llu\n", number, now() - start);
	return 0;
}
