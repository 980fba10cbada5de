/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What other modules keep outside of keys, for an image: read in the child before the workers begin, and written before
 * and behind the keys, where the server has it in its own dumps (ADR 91).
 */
#ifndef BEAM_SAVE_AUX_H
#define BEAM_SAVE_AUX_H

#include "segment_source.h"
#include "snapshot_facts.h"

struct beam_save_aux {
	uint8_t *before, *after; /* NULL: none */
	size_t before_bytes, after_bytes;
};

/* Zeroed before. 0 with facts->aux_types, or a code with a text in `why` (room for 256 bytes): then it is left to the server. */
int beam_save_aux_read(struct beam_facts *facts, struct beam_save_aux *aux, char *why);
void beam_save_aux_free(struct beam_save_aux *aux);

/* Notes that this server's data and keys of a module belong together: later saves do not try. */
void beam_save_aux_is_owned(void);

/* Behind the keys. 0 or what the source returns. */
int beam_save_aux_write(const struct beam_save_aux *aux, const struct beam_segment_source *source);

#endif
