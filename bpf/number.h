/* SPDX-License-Identifier: GPL-2.0-only */
/* How an event takes its number, which no other event of its CPU may have. */
#ifndef NUMBER_H
#define NUMBER_H

#ifdef NUMBERS_BY_CLAIM
/*
 * BPF has had an addition that returns the old value since 5.12 ("bpf: Add BPF_FETCH field /
 * create atomic_fetch_add instruction"), and BCC's compiler has none. A program that interrupts
 * this one may take the same number: the one that puts it into the map first has it. Interrupters
 * may be many (releases come in batches), but have gone, and have counted themselves, by the time
 * this goes on: only those that it interrupts are still to count, so a few tries suffice.
 */
static __always_inline __u64 take_number(struct cpu_totals *cpu)
{
	struct number_claim claim = {.number = cpu->seq, .cpu = bpf_get_smp_processor_id()};
	__u8 one = 1;
	int i;

#pragma unroll
	for (i = 0; i < 8; i++) {
		if (add_number(&claim, &one) != -17 /* EEXIST */)
			break;
		claim.number++;
		if (claim.number < cpu->seq)
			claim.number = cpu->seq;
	}
	__sync_fetch_and_add(&cpu->seq, 1);
	return claim.number;
}
#else
static __always_inline __u64 take_number(struct cpu_totals *cpu)
{
	return __sync_fetch_and_add(&cpu->seq, 1);
}
#endif

#endif
