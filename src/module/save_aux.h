/* SPDX-License-Identifier: BSD-3-Clause
 *
 * AUX data of other modules (what they save outside of keys), for an image. It is read in the child
 * before the workers start, and written before and after the keys, as in the server's own dumps
 * (ADR 91).
 */
#ifndef BEAM_SAVE_AUX_H
#define BEAM_SAVE_AUX_H

#include "segment_source.h"
#include "snapshot_facts.h"

struct beam_save_aux {
	uint8_t *before, *after; /* NULL: none */
	size_t before_bytes, after_bytes;
};

/* Reads the data into *aux, which must be zeroed, and its types into facts->aux_types. Returns 0,
 * or a code with a text in `why` (room for 256 bytes): then the save must be left to the server. */
int beam_save_aux_read(struct beam_facts *facts, struct beam_save_aux *aux, char *why);
/* Frees the data and zeroes *aux. Also for one that was only zeroed. */
void beam_save_aux_free(struct beam_save_aux *aux);

/* Records, for all later saves of this server, that a module's AUX data and its keys belong
 * together: they fail early, before anything is read. */
void beam_save_aux_is_owned(void);

/* Writes what goes after the keys. Returns 0 or the source's error. */
int beam_save_aux_write(const struct beam_save_aux *aux, const struct beam_segment_source *source);

#endif
