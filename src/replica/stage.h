/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Holds a whole image on this host until it is verified: one range of addresses, of which the first
 * memory_bytes are memory and the rest is an unlinked file in `dir`. One thread fetches; after
 * beam_stage_finish another thread may read.
 */
#ifndef BEAM_STAGE_H
#define BEAM_STAGE_H

#include <stdbool.h>

#include "rdbeam/image_format.h"
#include "segments.h"

struct beam_stage;

/* Makes an empty stage for image `gen`; `dir` is copied. Returns 0 or -ENOMEM. */
int beam_stage_open(uint64_t memory_bytes, const char *dir, const struct beam_gen *gen,
		    struct beam_stage **out);
/* Frees the image and its addresses. Accepts NULL; clears the pointer. */
void beam_stage_close(struct beam_stage **stage);

/* Fills in the sink's functions; `stage` must outlive the sink's use. */
void beam_stage_sink(struct beam_stage *stage, struct beam_segment_sink *out);

/* Marks the image as complete. */
void beam_stage_finish(struct beam_stage *stage, uint64_t image_bytes);
/* To be called after finish. `whole`: send the filler, too, for a target that makes a file of it. */
void beam_stage_source(struct beam_stage *stage, bool whole, struct beam_image_source *out);
/* The image's bytes, read-only. To be called after finish. */
const uint8_t *beam_stage_bytes(const struct beam_stage *stage);
uint64_t beam_stage_image_bytes(const struct beam_stage *stage);
uint64_t beam_stage_spilled(const struct beam_stage *stage); /* bytes in the file */

#endif
