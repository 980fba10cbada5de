/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Prefetches the nodes of large sorted sets for the server's serializer. The serializer walks the
 * skip list backward and waits for memory at every node, since only a node knows its predecessor.
 * The upper levels of the list, however, lead to about every 64th node. So the list is split at
 * those nodes into sections, and many sections are walked side by side: their cache misses overlap.
 * This only saves time: what is written does not depend on it. Used in a forked child, by one
 * thread.
 */
#ifndef BEAM_AHEAD_LIST_H
#define BEAM_AHEAD_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_list_layout;

/* Zero it before the first use; one is used for all collections of a walk. */
struct beam_ahead_list {
	bool on;
	bool disproved;
	unsigned proofs, looks;
	const struct beam_list_layout *layout; /* NULL until one is proved */
	/* Nodes of an upper level, in list order. Those from index `nmarks` on have been passed. */
	uintptr_t *marks;
	size_t nmarks, marks_cap;
	uint64_t rest;     /* elements that have not been prefetched */
	uintptr_t at;      /* last node, in list order, that has not been prefetched */
	uint64_t elements; /* prefetched so far, in all lists */
	uint64_t left;     /* elements to be written before the next step */
};

/* Begins with another sorted set. Does nothing for short lists, and for layouts that are not
 * known. */
void beam_ahead_list_open(struct beam_ahead_list *list, const void *object);
/* Frees the marks. Idempotent. */
void beam_ahead_list_close(struct beam_ahead_list *list);

/* Prefetches the next part. */
void beam_ahead_list_step(struct beam_ahead_list *list);

/* Call it when the serializer has written an element. */
static inline void beam_ahead_list_wrote(struct beam_ahead_list *list)
{
	if (!--list->left)
		beam_ahead_list_step(list);
}

#endif
