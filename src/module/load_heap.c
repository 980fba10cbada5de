/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Asks the kernel for pages ahead of the values (MADV_POPULATE_WRITE, Linux 5.14). That changes no
 * byte, whatever is there. Memory that is not mapped or cannot be written is an error, and older
 * kernels know no such advice: neither matters.
 */
#include "load_heap.h"

#include <stdbool.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define PAGE_BYTES   4096u
#define AHEAD_BYTES  (256u << 10)
#define AHEAD_MOST   (16u << 20)
#define CREDIT_FIRST (1u << 20)

void beam_load_heap_begin(struct beam_load_heap *heap)
{
	*heap = (struct beam_load_heap){.credit = CREDIT_FIRST};
}

static uintptr_t page_after(uintptr_t at)
{
	return (at + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
}

/* A heap with many holes gives addresses in no order. The credit keeps the calls rare there: about
 * one for every AHEAD_BYTES / 2 of values. */
void beam_load_heap_used(struct beam_load_heap *heap, const void *at, size_t len_bytes)
{
	uintptr_t begin = (uintptr_t)at, end = begin + len_bytes;
	/* the next value, and some more */
	size_t next = len_bytes > AHEAD_MOST ? AHEAD_MOST : len_bytes;
	size_t ahead = next < AHEAD_BYTES / 2 ? AHEAD_BYTES / 2 : next;
	bool in_order = begin >= heap->from && begin <= heap->to;

	heap->credit += 2 * len_bytes;
	if (in_order && end + ahead <= heap->to)
		return;
	uintptr_t from = in_order && heap->to > end ? heap->to : page_after(end);
	uintptr_t to = page_after(end + ahead + AHEAD_BYTES / 2);

	if (to - from > heap->credit)
		return;
	heap->credit -= to - from;
	heap->from = begin;
	heap->to = to;
	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	(void)madvise((void *)from, to - from, MADV_POPULATE_WRITE);
}
