/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Trims an image for a server that loads it: of each chunk only the items are sent, not the filler
 * up to the end of its segment, which makes up most of a small image (ADR 103). The checksum at the
 * end is replaced by that of the bytes sent. Single-threaded.
 */
#ifndef BEAM_TRIM_H
#define BEAM_TRIM_H

#include <stdint.h>

#include "crc64.h"
#include "rdbeam/image_format.h"

struct beam_trim {
	struct beam_crc64_shift by_segment;
	struct beam_gen gen;
	uint64_t image_crc, sent_crc; /* so far: of the image, and of the bytes sent */
};

/* Starts at the first segment of image `gen`, with segments of segment_bytes. */
void beam_trim_init(struct beam_trim *trim, const struct beam_gen *gen, uint32_t segment_bytes);

/* Returns the number of bytes to send of segment `index`, which must be verified: all of it, unless
 * at least a sixteenth of it is filler. If its items are few, some filler is sent, so that the feed
 * has BEAM_HELD_BYTES to hold back. */
uint32_t beam_trim_bytes(const struct beam_trim *trim, const uint8_t *base, uint32_t len_bytes,
			 uint32_t index);

/* The same for the next segment in order, with the segment's CRC in `crc`; the length of the filler
 * that is sent is put into its record. In the last segment, the image's checksum is replaced by that
 * of the bytes sent, if it was right. */
uint32_t beam_trim_next(struct beam_trim *trim, uint8_t *base, uint32_t len_bytes, uint32_t index,
			uint64_t crc);

#endif
