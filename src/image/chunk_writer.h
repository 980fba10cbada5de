/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes bytes into chunks, which are runs of segments, and computes their CRCs on the way. Each
 * lane has at most one open chunk; chunks are told apart by their lanes. Not thread-safe.
 */
#ifndef CHUNK_WRITER_H
#define CHUNK_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crc64.h"
#include "segment_source.h"

#define CHUNK_VARINT_BYTES 10 /* longest encoding of an item's length in the index */

struct beam_copy_pool;

/* Chunks that can be open at the same time. Their jobs carry the number. */
enum chunk_lane { LANE_SMALL, LANE_LARGE, LANE_ALONE, LANES };

/* Before the first use zero all but the lane. The index buffer is reused for the next chunk; the
 * owner frees it. */
struct chunk {
	bool open;
	uint32_t first, nsegments; /* claimed */
	uint32_t current;          /* segment being filled, counted from 0 */
	uint8_t *base;             /* of the current segment */
	uint32_t pos;              /* in the current segment */
	uint32_t crc_pos;          /* bytes below this are in `crc` */
	uint64_t crc;              /* of the current segment */
	uint64_t chunk_crc;        /* of the sealed segments before it */
	enum chunk_lane lane;
	struct beam_copy_job *job; /* of the current segment, with a pool */
	int64_t db;                /* selected at this point; -1: none */
	uint32_t nitems;
	uint8_t *index;
	size_t index_bytes, index_cap;
};

struct chunk_writer {
	const struct beam_segment_source *source;
	uint32_t segment_bytes;
	struct beam_crc64_shift segment_shift;
	struct beam_copy_pool *pool;
	uint64_t lane_crc[LANES]; /* CRC of the segments that came back from the pool, per chunk */
};

/* Initializes a writer. `source` and `pool` (NULL: none) must outlive it; it holds no other
 * resources. */
void chunk_writer_init(struct chunk_writer *writer, const struct beam_segment_source *source,
		       struct beam_copy_pool *pool);

/* Waits for all segments of this writer that are in the pool, and seals them. 0 or a negative
 * code. */
int chunk_writer_drain(struct chunk_writer *writer);

/* Begins a chunk: claims `nsegments` segments and gets memory for the first one. 0 or the source's
 * code. */
int chunk_begin(struct chunk_writer *writer, struct chunk *chunk, uint32_t nsegments);

/* Bytes for which there is room, in items and index together. */
uint64_t chunk_left(const struct chunk_writer *writer, const struct chunk *chunk);

/* Adds an item, whose bytes follow, to the index. 0 or -ENOMEM. */
int chunk_add_item(struct chunk *chunk, uint64_t item_bytes);

/* Appends bytes; there must be room for them. `src` NULL appends zeros. With a pool, bytes that
 * stay valid until the next drain (`stays`) may be copied later. 0 or a negative code. */
int chunk_append(struct chunk_writer *writer, struct chunk *chunk, const void *src,
		 uint64_t len_bytes, bool stays);

/* Ends the chunk and seals its last segment; gives back segments that were not needed. 0 or a
 * negative code. */
int chunk_end(struct chunk_writer *writer, struct chunk *chunk);

#endif
