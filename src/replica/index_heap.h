/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A min-heap of segment indexes. All zeros is the empty heap. Not thread-safe.
 */
#ifndef BEAM_INDEX_HEAP_H
#define BEAM_INDEX_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct beam_index_heap {
	uint32_t *at;
	uint32_t count, cap;
};

/* Returns 0 or -ENOMEM. */
int beam_index_heap_push(struct beam_index_heap *heap, uint32_t index);
/* Returns false when the heap is empty; otherwise *least is the least index, which stays in the
 * heap. */
bool beam_index_heap_peek(const struct beam_index_heap *heap, uint32_t *least);
/* Removes the least index; the heap must not be empty. */
void beam_index_heap_pop(struct beam_index_heap *heap);
void beam_index_heap_free(struct beam_index_heap *heap);

#endif
