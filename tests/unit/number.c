/* bpf/number.h on a CPU that is interrupted where the test says; prints the numbers taken. */
#include <stdio.h>
#include <stdlib.h>

#define NUMBERS_BY_CLAIM
#define __always_inline	inline
#define MOST		4096

typedef unsigned char __u8;
typedef unsigned long long __u64;

struct cpu_totals {
	__u64 seq;
};

struct number_claim {
	__u64 number;
	__u64 cpu;
};

static struct cpu_totals totals;
static char claimed[MOST];
static int interrupters, before_the_claim;

static int bpf_get_smp_processor_id(void)
{
	return 0;
}

static void interrupt(void);

static long add_number(struct number_claim *claim, __u8 *one)
{
	long answer;

	if (before_the_claim)
		interrupt();
	answer = claimed[claim->number] ? -17 : 0;
	claimed[claim->number] = *one;
	if (!before_the_claim)
		interrupt();
	return answer;
}

#include "number.h"

static void interrupt(void)
{
	int left = interrupters;

	for (interrupters = 0; left; left--)
		printf("%llu\n", take_number(&totals));
}

int main(int argc, char **argv)
{
	int i;

	before_the_claim = atoi(argv[1]);
	for (i = 0; i < 5; i++) {
		interrupters = atoi(argv[2]);
		printf("%llu\n", take_number(&totals));
	}
	printf("%llu\n", totals.seq);
	return argc != 3;
}
