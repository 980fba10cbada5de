/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image whose every word tells its generation: written into the daemon's region by a child, and once
 * more into a reader's own memory, from the generation's number alone.
 */
#ifndef MARKED_IMAGE_H
#define MARKED_IMAGE_H

#include "segment_source.h"

#define MARKED_KEYS     24 /* of 64 KiB each: a segment beside the header's and the last one */
#define MARKED_SEGMENTS 6  /* at most */

struct beam_image_totals;

/* Writes it to where `source` says; its gen is the mark. As beam_image_write_last. */
int marked_write(const struct beam_segment_source *source, struct beam_image_totals *totals,
		 void (*before_seal)(void *arg, uint32_t nsegments), void *arg);

/* What a reader must get. */
struct marked_copy {
	struct beam_gen gen;
	uint32_t nsegments;
	uint32_t len_bytes[MARKED_SEGMENTS];
	uint64_t crcs[MARKED_SEGMENTS];
	uint8_t *bytes; /* MARKED_SEGMENTS * segment_bytes, of marked_copy_make's caller */
	uint32_t segment_bytes;
};

/* Fills in all but `bytes` and `segment_bytes`, which are given. 0, or a negative code. */
int marked_copy_make(struct marked_copy *copy, const struct beam_gen *gen);

#endif
