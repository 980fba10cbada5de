/* SPDX-License-Identifier: BSD-3-Clause
 * Composes the bytes of an image's header chunk. */
#ifndef BEAM_IMAGE_HEADER_H
#define BEAM_IMAGE_HEADER_H

#include "image_writer.h"

/* *bytes belongs to the caller, who frees it. 0 or -ENOMEM. */
int beam_image_header_build(const struct beam_image_header *header, uint8_t **bytes, size_t *len);

#endif
