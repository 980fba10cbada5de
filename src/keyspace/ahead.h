/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Prefetches the memory of large collections for the server's serializer. The serializer visits a
 * hash table element by element and waits for memory at each entry, field and value. Code that
 * knows the table's layout can prefetch the next elements meanwhile. This only saves time: what is
 * written does not depend on it. It works for tables of chained entries (peek_chain.c): hashes and
 * sets of Redis, and of Valkey before 8.1; ahead_list.h does the same for sorted sets. Used in a
 * forked child, by one thread.
 */
#ifndef BEAM_AHEAD_H
#define BEAM_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ahead_list.h"

#define BEAM_AHEAD_MARKS 8

/* Zero it before the first use; one is used for all collections of a walk. */
struct beam_ahead {
	bool on;
	bool disproved;
	unsigned proofs;
	uint8_t bare; /* tag of entries without a value; 0: none seen yet */
	uintptr_t buckets[2];
	uint64_t nbuckets[2];
	int table;
	uint64_t asked; /* buckets of this table whose entries have been prefetched */
	uint64_t read;  /* of these, buckets whose keys and values have been prefetched as well */
	/* Strings at the start of the part that was read last; when the serializer writes one of
	 * them, the next step is due. Numbers are written from another buffer, so for a part that
	 * has only numbers the writes are counted instead. */
	uintptr_t marks[BEAM_AHEAD_MARKS];
	unsigned nmarks;
	uint64_t part;          /* elements in the part that was read last */
	uint64_t due;           /* writes until the next step; 0: writes are not counted */
	unsigned number_writes; /* writes per element if it consists of numbers */
	uint64_t elements;      /* prefetched so far, not counting sorted sets */
	struct beam_ahead_list list;
};

/* Begins with another collection. Does nothing for small ones, and for layouts that are not
 * known. */
void beam_ahead_open(struct beam_ahead *ahead, const void *object);
/* Frees what the walk's collections needed. Idempotent. */
void beam_ahead_close(struct beam_ahead *ahead);

/* Elements prefetched so far, of all kinds of collections. */
static inline uint64_t beam_ahead_elements(const struct beam_ahead *ahead)
{
	return ahead->elements + ahead->list.elements;
}

/* Prefetches the next part. */
void beam_ahead_step(struct beam_ahead *ahead);

#define BEAM_AHEAD_SCORE_BYTES 8
#define BEAM_AHEAD_STACK_BYTES ((uintptr_t)64 << 10)

/* Call it for every write of the serializer, with the address of the bytes. Of a sorted set's
 * elements only the score is written from the serializer's stack with this length, so the scores
 * count the elements. */
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
