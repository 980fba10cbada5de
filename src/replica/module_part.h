/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One part of the stream that module_feed makes of an image. One thread.
 */
#ifndef BEAM_MODULE_PART_H
#define BEAM_MODULE_PART_H

#include <stddef.h>
#include <stdint.h>

#include "load_share.h"

/* Either bytes of its own, or body_bytes of its segments. Start zeroed; `own` is freed by the
 * owner. */
struct beam_module_part {
	uint32_t first, nsegments;
	uint32_t sent; /* segments of it, or 1: own */
	uint64_t body_bytes;
	uint8_t *own;
	size_t own_bytes, own_cap;
};

/* Appends to the part's own bytes. 0 or -ENOMEM. */
int beam_module_part_add(struct beam_module_part *part, const void *bytes, size_t len_bytes);
int beam_module_part_aux(struct beam_module_part *part, enum beam_load_aux kind, uint64_t number,
			 uint64_t count, const uint8_t nonce[BEAM_LOAD_SECRET_BYTES]);

/* Appends the items that the module does not take, and counts those that it does. 0, -ENOMEM,
 * BEAM_E_FORMAT. */
int beam_module_part_split(struct beam_module_part *part, const struct beam_chunk *chunk,
			   uint64_t *taken);

#endif
