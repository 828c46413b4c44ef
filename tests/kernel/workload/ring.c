// SPDX-License-Identifier: Apache-2.0
/* ring: make the kernel start io_uring threads for this process, and list its tasks. */
#include <dirent.h>
#include <linux/io_uring.h>

#include "workload.h"

int main(void)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQPOLL};
	int ring = syscall(SYS_io_uring_setup, 8, &params);
	struct dirent *entry;
	DIR *tasks;

	if (ring < 0) {
		printf("refused %d\n", errno);
		return 0;
	}
	tasks = opendir("/proc/self/task");
	while (tasks && (entry = readdir(tasks)))
		if (atoi(entry->d_name) && atoi(entry->d_name) != getpid())
			printf("worker %s\n", entry->d_name);
	return 0;
}
