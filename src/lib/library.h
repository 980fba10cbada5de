/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An open image, shared by the library's files.
 */
#ifndef BEAM_LIBRARY_H
#define BEAM_LIBRARY_H

#include "rdbeam/rdbeam.h"
#include "records.h"
#include "stage.h"

struct beam_image {
	const uint8_t *base;
	size_t len_bytes;
	struct beam_stage *staged; /* of a pull: it owns the bytes; NULL: they are a mapping */
	struct beam_records records;
	char number[24]; /* the last key, when it was stored as a number */
};

/* Opens the bytes as an image, which owns them from then on: by `staged`, or as a mapping when that
 * is NULL. 0, or a code with nothing taken. */
int beam_image_wrap(const uint8_t *base, size_t len_bytes, struct beam_stage *staged,
		    struct beam_image **out);

/* Nothing of the library is printed. Called first by whatever may log. */
void beam_library_be_silent(void);

#endif
