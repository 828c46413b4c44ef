/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every workload needs. A workload does one known thing and prints, one fact a line, what
 * it did and what it reaped: that is the truth that the test compares the events with.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SELF "/proc/self/exe"

static inline void die(const char *what)
{
	perror(what);
	exit(99);
}

static inline unsigned long long boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* Wait for a child (-1: any) and print what wait4 says of it. */
static inline pid_t reap(pid_t pid)
{
	struct rusage use;
	int status;

	pid = wait4(pid, &status, 0, &use);
	if (pid < 0)
		die("wait4");
	printf("child %d %d %ld %ld %ld %ld %ld %ld %ld %ld\n", pid, status,
	       use.ru_utime.tv_sec * 1000000 + use.ru_utime.tv_usec +
		       use.ru_stime.tv_sec * 1000000 + use.ru_stime.tv_usec,
	       use.ru_maxrss, use.ru_minflt, use.ru_majflt, use.ru_inblock, use.ru_oublock,
	       use.ru_nvcsw, use.ru_nivcsw);
	return pid;
}

/* clone3 like fork, with more flags; exit_signal 0 is what CLONE_PARENT asks for. */
static inline pid_t clone3(struct clone_args *args)
{
	return syscall(SYS_clone3, args, sizeof(*args));
}

/* Until somebody closes our standard input, or writes a line to it. */
static inline void wait_for_input(void)
{
	char byte;

	fflush(stdout);
	if (read(0, &byte, 1) < 0)
		die("read");
}

static inline pthread_t start_thread(void *(*body)(void *), void *argument)
{
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	errno = pthread_create(&thread, &small, body, argument);
	if (errno)
		die("pthread_create");
	return thread;
}

#endif
