/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Nodes of a large sorted set, fetched ahead of the server's serializer. That one goes through the skip
 * list from its end, node by node, and waits for each, since only a node tells where the next one is. But
 * the list's upper levels lead to every 64th node or so: from many of these at once the nodes before them
 * are fetched, each step waiting for some dozens together. Nothing that is written depends on it. In a
 * forked child; one thread.
 */
#ifndef BEAM_AHEAD_LIST_H
#define BEAM_AHEAD_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_list_layout;

/* Starts zeroed, and lasts for all collections of a walk. */
struct beam_ahead_list {
	bool on;
	bool disproved;
	unsigned proofs, looks;
	const struct beam_list_layout *layout; /* once one is proved */
	/* Nodes of an upper level, from the list's front. Those from `nmarks` on are fetched. */
	uintptr_t *marks;
	size_t nmarks, marks_cap;
	uint64_t rest;     /* elements that are not fetched */
	uintptr_t at;      /* the last node, towards the front, that is not fetched */
	uint64_t elements; /* fetched so far, of all lists */
	uint64_t left;     /* elements that are written before more are fetched */
};

/* Looks at the sorted set whose list it is. What is short, or no list that is known, is not fetched. */
void beam_ahead_list_open(struct beam_ahead_list *list, const void *object);
void beam_ahead_list_close(struct beam_ahead_list *list);

/* Fetches the next part. */
void beam_ahead_list_step(struct beam_ahead_list *list);

/* Tells that the serializer has written an element. */
static inline void beam_ahead_list_wrote(struct beam_ahead_list *list)
{
	if (!--list->left)
		beam_ahead_list_step(list);
}

#endif
