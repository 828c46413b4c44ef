// SPDX-License-Identifier: Apache-2.0
/*
 * churn: make children all the time, a few of them alive at any moment, until our input is
 * closed. Then print for each when it was surely not yet, surely alive, and surely released:
 * `lived PID BEFORE_FORK ALIVE_FROM ALIVE_TO REAPED`, in ns of CLOCK_BOOTTIME.
 */
#include <poll.h>

#include "workload.h"

#define SLOTS 65536
#define ALIVE 25

struct life {
	pid_t pid;
	unsigned long long before_fork, alive_from, alive_to, reaped;
};

static void live(struct life *life, int i)
{
	struct timespec nap = {0, 300000 + i % 7 * 1000000};

	life->alive_from = boot_ns();
	nanosleep(&nap, NULL);
	life->alive_to = boot_ns();
	_exit(0);
}

static void reap_oldest(struct life *life)
{
	if (waitpid(life->pid, NULL, 0) != life->pid)
		die("waitpid");
	life->reaped = boot_ns();
}

int main(void)
{
	struct life *lives = mmap(NULL, SLOTS * sizeof(*lives), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pollfd input = {.fd = 0, .events = POLLIN};
	int made = 0, reaped = 0;

	while (made < SLOTS && poll(&input, 1, 0) == 0) {
		struct life *life = &lives[made];
		pid_t pid;

		life->before_fork = boot_ns();
		pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid)
			live(life, made);
		life->pid = pid;
		if (!made++) {
			printf("started\n");
			fflush(stdout);
		}
		if (made - reaped > ALIVE)
			reap_oldest(&lives[reaped++]);
	}
	while (reaped < made)
		reap_oldest(&lives[reaped++]);
	for (reaped = 0; reaped < made; reaped++) {
		struct life *life = &lives[reaped];

		printf("lived %d %llu %llu %llu %llu\n", life->pid, life->before_fork,
		       life->alive_from, life->alive_to, life->reaped);
	}
	return 0;
}
