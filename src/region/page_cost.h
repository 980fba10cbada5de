/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What new memory costs in huge pages and in small ones, and so which to take. Huge pages are the
 * better ones, unless the host of a virtual machine has taken them back: a guest gives back what it
 * has free, and whole huge pages only. The first touch of such a page waits for the host. Small
 * pages are first taken from what was too small to be given back (docs/adr/0118). Any thread.
 */
#ifndef BEAM_PAGE_COST_H
#define BEAM_PAGE_COST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroed at first. Processor time per MiB, as measured last; 0: not known. */
struct beam_page_cost {
	_Atomic uint64_t huge_ns, small_ns;
	_Atomic uint64_t noted_ms;
	atomic_bool unhurried; /* nobody waits: huge pages, whatever they cost */
};

/* Takes the processor time that `bytes` of new memory have cost. */
void beam_page_cost_note(struct beam_page_cost *cost, bool huge, uint64_t bytes, uint64_t cpu_ns);
/* True if the next piece is to be of huge pages. */
bool beam_page_cost_favours_huge(struct beam_page_cost *cost);

#endif
