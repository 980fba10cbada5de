/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bytes into chunks of segments, their CRCs taken on the way. Chunks are told apart by their lanes, of
 * which each has one open at most. Not thread-safe.
 */
#ifndef CHUNK_WRITER_H
#define CHUNK_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crc64.h"
#include "segment_source.h"

#define CHUNK_VARINT_BYTES 10 /* what an item's length takes in the index, at most */

struct beam_copy_pool;

/* Chunks that can be open at a time; the number is told to their jobs. */
enum chunk_lane { LANE_SMALL, LANE_LARGE, LANE_ALONE, LANES };

/* Zeroed but for the lane before its first use; the index, which its owner frees, serves the next one. */
struct chunk {
	bool open;
	uint32_t first, nsegments; /* claimed */
	uint32_t current;          /* segment being filled, from 0 */
	uint8_t *base;             /* of the current segment */
	uint32_t pos;              /* in it */
	uint32_t crc_pos;          /* its bytes below this are in `crc` */
	uint64_t crc;              /* of the current segment */
	uint64_t chunk_crc;        /* of the sealed segments before it */
	enum chunk_lane lane;
	struct beam_copy_job *job; /* of the current segment, with a pool */
	int64_t db;                /* selected at this point, -1: none */
	uint32_t nitems;
	uint8_t *index;
	size_t index_bytes, index_cap;
};

struct chunk_writer {
	const struct beam_segment_source *source;
	uint32_t segment_bytes;
	struct beam_crc64_shift segment_shift;
	struct beam_copy_pool *pool;
	uint64_t lane_crc[LANES]; /* of a chunk's segments that came back from the pool */
};

/* Source and pool (NULL: none) must outlive the writer, which holds nothing else. */
void chunk_writer_init(struct chunk_writer *writer, const struct beam_segment_source *source,
		       struct beam_copy_pool *pool);

/* Waits for all that the pool has of this writer, and seals it. 0 or a code. */
int chunk_writer_drain(struct chunk_writer *writer);

/* Claims so many segments. 0 or the source's code. */
int chunk_begin(struct chunk_writer *writer, struct chunk *chunk, uint32_t nsegments);

/* Bytes of items, index included, for which there is room. */
uint64_t chunk_left(const struct chunk_writer *writer, const struct chunk *chunk);

/* Tells the index of an item whose bytes follow. 0 or -ENOMEM. */
int chunk_add_item(struct chunk *chunk, uint64_t item_bytes);

/* Appends bytes, for which there is room; `src` NULL: zeros. With a pool, what `stays` where it is until the
 * next drain may be copied later. 0 or a code. */
int chunk_append(struct chunk_writer *writer, struct chunk *chunk, const void *src,
		 uint64_t len_bytes, bool stays);

/* Seals it; segments that were not needed are given back. 0 or a code. */
int chunk_end(struct chunk_writer *writer, struct chunk *chunk);

#endif
