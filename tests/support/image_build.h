/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Builds images by hand for tests and fuzzers, from the description in rdbeam/image_format.h and
 * without the image writer, so that reader and writer are tested against the format and not only
 * against each other.
 */
#ifndef IMAGE_BUILD_H
#define IMAGE_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "image_reader.h"

/* What goes into one chunk. */
struct build_chunk {
	const uint8_t *body;
	size_t body_bytes;
	const uint8_t *index;
	size_t index_bytes;
	uint32_t nitems;
	uint32_t first_index;
	uint32_t nsegments;
};

/* A body and its index in the making: items of tests. */
struct build_items {
	uint8_t body[8192];
	uint8_t index[1024];
	size_t body_bytes, index_bytes;
	uint32_t nitems;
};

/* Adds an item; its bytes are as in the format. */
void build_item(struct build_items *items, const void *bytes, size_t len_bytes);

/* Lays a chunk out in base[0..len_bytes), which must be zero and have room for body, index and
 * tail. The CRC is right. */
void build_chunk(uint8_t *base, size_t len_bytes, const struct beam_gen *gen,
		 const struct build_chunk *chunk);

/* Puts the right CRC into a chunk that a test has changed. */
void build_chunk_crc(uint8_t *base, size_t len_bytes);

/* Appends the last segment to an image of `nfull` full segments whose bytes are final. Room:
 * build_last_bytes(nfull). */
void build_last(uint8_t *image, uint32_t nfull, uint32_t segment_bytes, const struct beam_gen *gen,
		uint64_t nitems);
size_t build_last_bytes(uint32_t nfull);

#endif
