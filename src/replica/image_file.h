/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A segment sink that stores the image in a file. The file is written without a name (or under a
 * temporary one, where the file system has no O_TMPFILE) in the directory of its path, and is
 * renamed to the path when it is complete and on disk. Without a path nothing is kept, which is
 * useful for measuring.
 */
#ifndef BEAM_IMAGE_FILE_H
#define BEAM_IMAGE_FILE_H

#include "segments.h"

struct beam_image_file;

/* Opens the file. `path` must outlive it; NULL: keep nothing. memory_bytes bounds the buffers (at
 * least two segments). Returns 0, or -errno with the line in `error`. */
int beam_image_file_open(const char *path, uint64_t memory_bytes, char *error,
			 struct beam_image_file **out);
/* Makes the temporary file and removes it again, to find out early whether that is possible. Returns
 * 0, or -errno with the line in `error`. */
int beam_image_file_try(const char *path, char *error);
/* Without a commit, nothing stays on disk. Accepts NULL; clears the pointer. */
void beam_image_file_close(struct beam_image_file **file);

/* Fills in the sink's functions; `file` must outlive the sink's use. */
void beam_image_file_sink(struct beam_image_file *file, struct beam_segment_sink *out);

/* Makes the file durable under its path: fsync, rename, fsync of the directory. image_bytes must be
 * its size. Returns 0, or -errno with the line in `error`. */
int beam_image_file_commit(struct beam_image_file *file, uint64_t image_bytes, char *error);

#endif
