/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Builds images by hand for tests and fuzzers, from the description in rdbeam/image_format.h and
 * without the image writer, so that reader and writer are tested against the format, not only
 * against each other.
 */
#ifndef IMAGE_BUILD_H
#define IMAGE_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "image_reader.h"

/* The contents of a chunk. */
struct build_chunk {
	const uint8_t *body;
	size_t body_bytes;
	const uint8_t *index;
	size_t index_bytes;
	uint32_t nitems;
	uint32_t first_index;
	uint32_t nsegments;
};

/* A body and its index under construction. */
struct build_items {
	uint8_t body[8192];
	uint8_t index[1024];
	size_t body_bytes, index_bytes;
	uint32_t nitems;
};

/* Adds an item, given by its bytes as in the format. */
void build_item(struct build_items *items, const void *bytes, size_t len_bytes);

/* Lays out a chunk, with a correct CRC, in base[0..len_bytes), which must be zero and have room for
 * body, index and tail. */
void build_chunk(uint8_t *base, size_t len_bytes, const struct beam_gen *gen,
		 const struct build_chunk *chunk);

/* Corrects the CRC of a chunk that a test has changed. */
void build_chunk_crc(uint8_t *base, size_t len_bytes);

/* Appends the last segment to an image of `nfull` full segments, whose bytes must be final. The
 * room needed is build_last_bytes(nfull). */
void build_last(uint8_t *image, uint32_t nfull, uint32_t segment_bytes, const struct beam_gen *gen,
		uint64_t nitems);
size_t build_last_bytes(uint32_t nfull);

#endif
