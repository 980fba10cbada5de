/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Asks the kernel for pages ahead of the values (MADV_POPULATE_WRITE, Linux 5.14). That changes no
 * byte, whatever is there. Memory that is not mapped or cannot be written is an error, and older
 * kernels know no such advice: neither matters.
 */
#include "load_heap.h"

#include <stdbool.h>

#include "pages.h"

#define PAGE_BYTES   4096u
#define AHEAD_BYTES  (256u << 10)
#define AHEAD_MOST   (16u << 20)
#define CREDIT_FIRST (2u << 20)
#define GAP_MOST     (64u << 10) /* between two values of a run */

void beam_load_heap_begin(struct beam_load_heap *heap)
{
	*heap = (struct beam_load_heap){.credit = CREDIT_FIRST};
}

static uintptr_t page_after(uintptr_t at)
{
	return (at + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
}

/* Returns the run that goes on at `begin`, or NULL. */
static struct beam_load_run *run_of(struct beam_load_heap *heap, uintptr_t begin)
{
	for (uint32_t i = 0; i < BEAM_LOAD_HEAP_RUNS; i++)
		if (begin >= heap->runs[i].at && begin - heap->runs[i].at <= GAP_MOST)
			return &heap->runs[i];
	return NULL;
}

/* Asking takes from the credit, and a run that goes on through what was asked for gives it back.
 * What is asked for in vain is thus limited: in a heap with many holes, whose addresses have no
 * order, the credit is soon used up. */
void beam_load_heap_used(struct beam_load_heap *heap, const void *at, size_t len_bytes)
{
	uintptr_t begin = (uintptr_t)at, end = begin + len_bytes;
	/* the next value, and some more */
	size_t next = len_bytes > AHEAD_MOST ? AHEAD_MOST : len_bytes;
	size_t ahead = next < AHEAD_BYTES / 2 ? AHEAD_BYTES / 2 : next;
	struct beam_load_run *run = run_of(heap, begin);

	heap->credit += len_bytes / 16;
	if (run) {
		uintptr_t used = end < run->to ? end : run->to;

		heap->credit += used > run->at ? used - run->at : 0;
		run->at = end;
		if (end + ahead <= run->to)
			return;
	} else {
		run = &heap->runs[heap->oldest++ % BEAM_LOAD_HEAP_RUNS];
		*run = (struct beam_load_run){.at = end, .to = 0};
	}
	uintptr_t from = run->to > end ? run->to : page_after(end);
	uintptr_t to = page_after(end + ahead + AHEAD_BYTES / 2);

	if (to - from > heap->credit)
		to = from + heap->credit / PAGE_BYTES * PAGE_BYTES;
	if (to - from < AHEAD_BYTES / 2)
		return;
	heap->credit -= to - from;
	run->to = to;
	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	(void)beam_pages_populate((void *)from, to - from);
}
