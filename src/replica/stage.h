/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A whole image kept on this host until it is verified: one run of addresses, whose first
 * memory_bytes are memory and whose rest is an unlinked file in `dir`. One thread fetches; after
 * beam_stage_finish another may read.
 */
#ifndef BEAM_STAGE_H
#define BEAM_STAGE_H

#include "segments.h"

struct beam_stage;

int beam_stage_open(uint64_t memory_bytes, const char *dir, struct beam_stage **out);
/* NULL-safe, clears the pointer; the addresses are gone then. */
void beam_stage_close(struct beam_stage **stage);

void beam_stage_sink(struct beam_stage *stage, struct beam_segment_sink *out);

/* The image is whole. */
void beam_stage_finish(struct beam_stage *stage, uint64_t image_bytes);
/* After finish. */
void beam_stage_source(struct beam_stage *stage, struct beam_image_source *out);
/* The image's bytes, read-only; after finish. */
const uint8_t *beam_stage_bytes(const struct beam_stage *stage);
uint64_t beam_stage_image_bytes(const struct beam_stage *stage);
uint64_t beam_stage_spilled(const struct beam_stage *stage); /* bytes of it in the file */

#endif
