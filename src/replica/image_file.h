/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The image as a file: written beside its path under no name, or a temporary one where the file
 * system has no nameless files, and renamed when it is whole and on disk. Without a path it keeps
 * nothing, for measuring.
 */
#ifndef BEAM_IMAGE_FILE_H
#define BEAM_IMAGE_FILE_H

#include "segments.h"

struct beam_image_file;

/* `path` outlives the file; NULL: keep nothing. 0, or -errno with the line in `error`. */
int beam_image_file_open(const char *path, uint64_t memory_bytes, char *error,
			 struct beam_image_file **out);
/* Without commit nothing stays on disk. NULL-safe, clears the pointer. */
void beam_image_file_close(struct beam_image_file **file);

void beam_image_file_sink(struct beam_image_file *file, struct beam_segment_sink *out);

/* fsync, rename to the path, fsync of the directory. 0, or -errno with its line. */
int beam_image_file_commit(struct beam_image_file *file, uint64_t image_bytes, char *error);

#endif
