/* SPDX-License-Identifier: BSD-3-Clause
 * What the header chunk of an image says, as bytes. */
#ifndef BEAM_IMAGE_HEADER_H
#define BEAM_IMAGE_HEADER_H

#include "image_writer.h"

/* *bytes is the caller's, to be freed. 0 or -ENOMEM. */
int beam_image_header_build(const struct beam_image_header *header, uint8_t **bytes, size_t *len);

#endif
