/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Counts by which ways the keys of a snapshot were read. An image does not show it: all ways write
 * the same bytes, and each falls back to the next one silently.
 */
#ifndef BEAM_READ_WAYS_H
#define BEAM_READ_WAYS_H

#include <stdint.h>

/* How a database's table was walked. Bits, because databases may differ. */
enum beam_table_walk {
	BEAM_TABLE_SCANNED = 1, /* RM_Scan */
	BEAM_TABLE_CHAINED = 2, /* peek_chain.c */
	BEAM_TABLE_BUCKETS = 4, /* peek_bucket.c */
	BEAM_TABLE_OBJECTS = 8, /* peek_kvobj.c */
};

struct beam_read_ways {
	uint64_t by_layout;     /* values read directly from memory */
	uint64_t by_serializer; /* collections, by the server's serializer */
	uint64_t by_api;        /* GET and DUMP, and long strings through the module API */
	uint64_t ahead;         /* elements of collections prefetched for the serializer */
	unsigned tables;        /* of enum beam_table_walk */
};

static inline void beam_read_ways_add(struct beam_read_ways *sum, const struct beam_read_ways *more)
{
	sum->by_layout += more->by_layout;
	sum->by_serializer += more->by_serializer;
	sum->by_api += more->by_api;
	sum->ahead += more->ahead;
	sum->tables |= more->tables;
}

#endif
