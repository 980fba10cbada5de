/* SPDX-License-Identifier: BSD-3-Clause */
#include "page_cost.h"

#include "clock.h"

/* Slower than 1 GB/s. A kernel that only has to clear the pages takes a tenth of it. */
#define SLOW_NS 1000000u
/* What was measured is worth nothing for longer. */
#define OLD_MS 10000

void beam_page_cost_note(struct beam_page_cost *cost, bool huge, uint64_t bytes, uint64_t cpu_ns)
{
	uint64_t ns = bytes >> 20 ? cpu_ns / (bytes >> 20) : 0;

	atomic_store(huge ? &cost->huge_ns : &cost->small_ns, ns);
	atomic_store(&cost->noted_ms, beam_now_ms());
}

bool beam_page_cost_favours_huge(struct beam_page_cost *cost)
{
	uint64_t huge = atomic_load(&cost->huge_ns), small = atomic_load(&cost->small_ns);

	if (huge < SLOW_NS || atomic_load(&cost->unhurried))
		return true;
	if (beam_now_ms() - atomic_load(&cost->noted_ms) > OLD_MS) {
		atomic_store(&cost->huge_ns, 0);
		atomic_store(&cost->small_ns, 0);
		return true;
	}
	/* Small pages must be worth it: everything that is done with the memory costs more. */
	return small > huge / 2;
}
