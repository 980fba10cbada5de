/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One part of the stream that module_feed makes from an image. Not thread-safe.
 */
#ifndef BEAM_MODULE_PART_H
#define BEAM_MODULE_PART_H

#include <stddef.h>
#include <stdint.h>

#include "load_share.h"

/* A part consists either of bytes of its own, or of the first body_bytes of its segments. Start
 * with a zeroed struct; the owner frees `own`. */
struct beam_module_part {
	uint32_t first, nsegments;
	uint32_t sent; /* segments sent so far, or 1 when `own` was sent */
	uint64_t body_bytes;
	uint8_t *own;
	size_t own_bytes, own_cap;
};

/* Appends to the part's own bytes. Returns 0 or -ENOMEM. */
int beam_module_part_add(struct beam_module_part *part, const void *bytes, size_t len_bytes);
/* Appends an AUX record of load_share.h to the part's own bytes. Returns 0 or -ENOMEM. */
int beam_module_part_aux(struct beam_module_part *part, enum beam_load_aux kind, uint64_t number,
			 uint64_t count, const uint8_t nonce[BEAM_LOAD_SECRET_BYTES]);

/* Appends those items of the chunk that the module does not take, and counts in *taken those that
 * it does. Returns 0, -ENOMEM, or BEAM_E_FORMAT. */
int beam_module_part_split(struct beam_module_part *part, const struct beam_chunk *chunk,
			   uint64_t *taken);

#endif
