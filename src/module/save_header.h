/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The beginning of an image: the server's AUX fields and our own, its functions, and the size of
 * each database.
 */
#ifndef BEAM_SAVE_HEADER_H
#define BEAM_SAVE_HEADER_H

#include "ctl.h"
#include "save_aux.h"
#include "segment_source.h"
#include "snapshot_facts.h"

/* Writes the first chunk. Returns 0, -ENOMEM, or the source's error. */
int beam_save_header(const struct beam_facts *facts, const struct beam_save_aux *aux,
		     const struct beam_ctl_begin *begin, const struct beam_segment_source *source);

#endif
