/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory of a large collection, fetched ahead of the server's serializer. That one goes through a hash
 * table element by element and waits for each entry, each field and each value; who knows the table can
 * ask for the next ones meanwhile. Nothing that is written depends on it. Tables of chained entries
 * (peek_chain.c): hashes and sets of Redis and of Valkey before 8.1; sorted sets are in ahead_list.h. In a
 * forked child; one thread.
 */
#ifndef BEAM_AHEAD_H
#define BEAM_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ahead_list.h"

#define BEAM_AHEAD_MARKS 8

/* Starts zeroed, and lasts for all collections of a walk. */
struct beam_ahead {
	bool on;
	bool disproved;
	unsigned proofs;
	uint8_t bare; /* how entries without value are marked; 0: none seen */
	uintptr_t buckets[2];
	uint64_t nbuckets[2];
	int table;
	uint64_t asked; /* buckets of the table whose entries are on their way */
	uint64_t read;  /* of those whose elements are, too */
	/* Strings at the beginning of what was read last: when one of them is written, it is time for
	 * more. Numbers are written from elsewhere: where all are, writes are counted. */
	uintptr_t marks[BEAM_AHEAD_MARKS];
	unsigned nmarks;
	uint64_t part;          /* elements that were read last */
	uint64_t due;           /* writes until there is time for more; 0: not counted */
	unsigned number_writes; /* for an element of numbers */
	uint64_t elements;      /* fetched so far, without those of lists */
	struct beam_ahead_list list;
};

/* Looks at the collection. What is small, or no table of a kind that is known, is not fetched ahead. */
void beam_ahead_open(struct beam_ahead *ahead, const void *object);
void beam_ahead_close(struct beam_ahead *ahead);

/* Fetched so far, of all kinds. */
static inline uint64_t beam_ahead_elements(const struct beam_ahead *ahead)
{
	return ahead->elements + ahead->list.elements;
}

/* Fetches the next part. */
void beam_ahead_step(struct beam_ahead *ahead);

#define BEAM_AHEAD_SCORE_BYTES 8
#define BEAM_AHEAD_STACK_BYTES ((uintptr_t)64 << 10)

/* Tells of bytes that the serializer writes, and where they come from. Of an element of a sorted set only
 * the score comes from the serializer's stack with that length. */
static inline void beam_ahead_wrote(struct beam_ahead *ahead, const void *from, size_t len_bytes)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);

	if (ahead->due && !--ahead->due)
		beam_ahead_step(ahead);
	for (unsigned i = 0; i < ahead->nmarks; i++)
		if (ahead->marks[i] == (uintptr_t)from) {
			beam_ahead_step(ahead);
			return;
		}
	if (ahead->list.on && len_bytes == BEAM_AHEAD_SCORE_BYTES &&
	    (uintptr_t)from - frame + BEAM_AHEAD_STACK_BYTES < 2 * BEAM_AHEAD_STACK_BYTES)
		beam_ahead_list_wrote(&ahead->list);
}

#endif
