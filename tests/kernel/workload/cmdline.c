// SPDX-License-Identifier: Apache-2.0
/* cmdline ...: write out how it was called, as the kernel has it in /proc. */
#include "workload.h"

int main(void)
{
	int file = open("/proc/self/cmdline", O_RDONLY);
	char buffer[65536];
	ssize_t bytes;

	if (file < 0)
		die("/proc/self/cmdline");
	while ((bytes = read(file, buffer, sizeof(buffer))) > 0)
		if (write(1, buffer, bytes) != bytes)
			die("write");
	return 0;
}
