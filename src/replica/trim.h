/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a loading server is sent of an image: each chunk's items, and not the filler up to the end of its
 * segment, which is most of a small image (ADR 103). The sum at the end is that of what is sent. One thread.
 */
#ifndef BEAM_TRIM_H
#define BEAM_TRIM_H

#include <stdint.h>

#include "crc64.h"

struct beam_trim {
	struct beam_crc64_shift by_segment;
	uint64_t image_crc, sent_crc; /* of the segments so far, and of what is sent of them */
};

/* For segments of segment_bytes, from the first on. */
void beam_trim_init(struct beam_trim *trim, uint32_t segment_bytes);

/* Bytes that are sent of segment `index`, which was verified: all of it, unless a sixteenth and more are filler. */
uint32_t beam_trim_bytes(const uint8_t *base, uint32_t len_bytes, uint32_t index);

/* The same for the next segment, in order, whose CRC is `crc`. In the last one the image's sum is replaced by that
 * of what is sent, if it was right. */
uint32_t beam_trim_next(struct beam_trim *trim, uint8_t *base, uint32_t len_bytes, uint32_t index,
			uint64_t crc);

#endif
