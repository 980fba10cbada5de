/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The textbook binary heap.
 */
#include "index_heap.h"

#include <errno.h>
#include <stdlib.h>

static void swap(uint32_t *a, uint32_t *b)
{
	uint32_t t = *a;

	*a = *b;
	*b = t;
}

int beam_index_heap_push(struct beam_index_heap *heap, uint32_t index)
{
	if (heap->count == heap->cap) {
		uint32_t cap = heap->cap ? heap->cap * 2 : 256;
		uint32_t *grown = realloc(heap->at, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		heap->at = grown;
		heap->cap = cap;
	}
	uint32_t i = heap->count++;

	heap->at[i] = index;
	for (; i && heap->at[(i - 1) / 2] > heap->at[i]; i = (i - 1) / 2)
		swap(&heap->at[(i - 1) / 2], &heap->at[i]);
	return 0;
}

bool beam_index_heap_peek(const struct beam_index_heap *heap, uint32_t *least)
{
	if (!heap->count)
		return false;
	*least = heap->at[0];
	return true;
}

void beam_index_heap_pop(struct beam_index_heap *heap)
{
	uint32_t i = 0;

	heap->at[0] = heap->at[--heap->count];
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= heap->count)
			return;
		if (child + 1 < heap->count && heap->at[child + 1] < heap->at[child])
			child++;
		if (heap->at[i] <= heap->at[child])
			return;
		swap(&heap->at[i], &heap->at[child]);
		i = child;
	}
}

void beam_index_heap_free(struct beam_index_heap *heap)
{
	free(heap->at);
	*heap = (struct beam_index_heap){0};
}
