/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An open image, as the library's files share it.
 */
#ifndef BEAM_LIBRARY_H
#define BEAM_LIBRARY_H

#include "rdbeam/rdbeam.h"
#include "records.h"
#include "stage.h"

struct beam_image {
	const uint8_t *base;
	size_t len_bytes;
	struct beam_stage *staged; /* a pull's, which owns the bytes; NULL: they are a mapping */
	struct beam_records records;
	char number[24]; /* text of the last key, if that was stored as a number */
};

/* Opens the bytes as an image. On success the image owns them: through `staged`, or if that is
 * NULL, as a mapping to unmap. Returns 0 and *out, or a code; the bytes then remain the
 * caller's. */
int beam_image_wrap(const uint8_t *base, size_t len_bytes, struct beam_stage *staged,
		    struct beam_image **out);

/* Makes the library's log silent. To be called first by every function that may log. Any thread. */
void beam_library_be_silent(void);

#endif
