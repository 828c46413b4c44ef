// SPDX-License-Identifier: Apache-2.0
/*
 * use THREADS CPU_MS MEMORY_KIB FILE BLOCKS: a child uses known amounts in each of THREADS threads
 * (0: in its only one), says what it knows itself just before it ends, and is reaped.
 */
#include "workload.h"

#define BLOCK 4096

static long cpu_ms, memory_bytes, blocks;
static const char *file_name;

static void use_cpu(void)
{
	struct timespec used;

	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	while (used.tv_sec * 1000 + used.tv_nsec / 1000000 < cpu_ms);
}

static void use_memory(void)
{
	char *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long at;

	if (memory == MAP_FAILED)
		die("mmap");
	for (at = 0; at < memory_bytes; at += BLOCK)
		memory[at] = 1;
	munmap(memory, memory_bytes);
}

/* Past the page cache, so that every block is read and written by this task. */
static void use_disk(void)
{
	int file = open(file_name, O_RDWR | O_DIRECT);
	char *block = aligned_alloc(BLOCK, BLOCK);
	long i;

	if (file < 0 || !block)
		die(file_name);
	for (i = 0; i < blocks; i++)
		if (pread(file, block, BLOCK, i * BLOCK) != BLOCK)
			die("pread");
	for (i = 0; i < 2 * blocks; i++)
		if (pwrite(file, block, BLOCK, i % blocks * BLOCK) != BLOCK)
			die("pwrite");
	close(file);
}

static void wait_often(void)
{
	struct timespec moment = {0, 1000};
	int i;

	for (i = 0; i < 23; i++)
		nanosleep(&moment, NULL);
}

/* sum_exec_runtime of this thread, as far as the scheduler has brought it up to date. */
static void report_runtime(void)
{
	char path[64], text[64] = "";
	int file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", gettid());
	file = open(path, O_RDONLY);
	if (file < 0 || read(file, text, sizeof(text) - 1) < 1)
		die(path);
	dprintf(1, "ran %d %llu\n", gettid(), strtoull(text, NULL, 10));
	close(file);
}

static void *use(void *unused)
{
	use_memory();
	use_disk();
	wait_often();
	use_cpu();
	report_runtime();
	return NULL;
}

int main(int argc, char **argv)
{
	int threads = atoi(argv[1]), i;
	pthread_t started[64];
	pid_t pid;

	if (argc != 6)
		die("usage");
	cpu_ms = atol(argv[2]);
	memory_bytes = atol(argv[3]) * 1024;
	file_name = argv[4];
	blocks = atol(argv[5]);
	pid = fork();
	if (!pid) {
		for (i = 0; i < threads; i++)
			started[i] = start_thread(use, NULL);
		for (i = 0; i < threads; i++)
			pthread_join(started[i], NULL);
		if (!threads)
			use(NULL);
		_exit(0);
	}
	reap(pid);
	return 0;
}
