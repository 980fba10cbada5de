/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory of a large collection, fetched ahead of the server's serializer. That one goes through a hash
 * table element by element and waits for each entry, each field and each value; who knows the table can
 * ask for the next ones meanwhile. Nothing that is written depends on it. Tables of chained entries
 * (peek_chain.c): hashes and sets of Redis and of Valkey before 8.1. In a forked child; one thread.
 */
#ifndef BEAM_AHEAD_H
#define BEAM_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#define BEAM_AHEAD_MARKS 8

/* Starts zeroed, and lasts for all collections of a walk. */
struct beam_ahead {
	bool on;
	bool disproved;
	unsigned proofs;
	uintptr_t buckets[2];
	uint64_t nbuckets[2];
	int table;
	uint64_t asked; /* buckets of the table whose entries are on their way */
	uint64_t read;  /* of those whose elements are, too */
	/* Elements at the beginning of what was read last: when one of them is written, it is time
	 * for more. */
	uintptr_t marks[BEAM_AHEAD_MARKS];
	unsigned nmarks;
};

/* Looks at the collection. What is small, or no table of a kind that is known, is not fetched ahead. */
void beam_ahead_open(struct beam_ahead *ahead, const void *object);

/* Fetches the next part. */
void beam_ahead_step(struct beam_ahead *ahead);

/* Tells of bytes that the serializer writes: where they come from. */
static inline void beam_ahead_wrote(struct beam_ahead *ahead, const void *from)
{
	for (unsigned i = 0; i < ahead->nmarks; i++)
		if (ahead->marks[i] == (uintptr_t)from) {
			beam_ahead_step(ahead);
			return;
		}
}

#endif
