/* SPDX-License-Identifier: BSD-3-Clause
 * A min-heap of segment numbers. */
#ifndef BEAM_INDEX_HEAP_H
#define BEAM_INDEX_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct beam_index_heap { /* zeroed: empty */
	uint32_t *at;
	uint32_t count, cap;
};

int beam_index_heap_push(struct beam_index_heap *heap, uint32_t index); /* 0 or -ENOMEM */
bool beam_index_heap_peek(const struct beam_index_heap *heap, uint32_t *least);
void beam_index_heap_pop(struct beam_index_heap *heap); /* the least; must not be empty */
void beam_index_heap_free(struct beam_index_heap *heap);

#endif
