/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Room for the values of a load. Most of them go into memory that the server's heap has just got
 * from the kernel, and each first access to a page is a fault. An allocator gives out new memory in
 * the order of its addresses, so the pages behind a new value are asked for many at a time, before
 * the next values are written there. Where the guess is wrong, nothing but a little time is lost. One
 * thread for each struct.
 */
#ifndef BEAM_LOAD_HEAP_H
#define BEAM_LOAD_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define BEAM_LOAD_HEAP_RUNS 8

struct beam_load_heap {
	/* Where values are created one behind the other: values of other sizes have other places. */
	struct beam_load_run {
		uintptr_t at; /* end of the last value */
		uintptr_t to; /* end of what was asked for */
	} runs[BEAM_LOAD_HEAP_RUNS];
	uint32_t oldest;
	size_t credit; /* bytes that may be asked for and not used */
};

/* Begins a load. */
void beam_load_heap_begin(struct beam_load_heap *heap);
/* A value was created at [at, at + len_bytes). */
void beam_load_heap_used(struct beam_load_heap *heap, const void *at, size_t len_bytes);

#endif
