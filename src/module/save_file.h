/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The file that a save writes until it is complete and takes the dump's name: the server's
 * directory, a temporary file in it, and a lock on the dump's name, which the waiter inherits.
 * Child only.
 */
#ifndef BEAM_SAVE_FILE_H
#define BEAM_SAVE_FILE_H

#include <stdbool.h>

#include "redis_api.h"
#include "shared.h"

/* Name of the temporary file if the file system does not support unnamed ones (O_TMPFILE); takes a
 * pid. */
#define BEAM_SAVE_TEMP_NAME  "temp-rdbeam-%d.rdb"
#define BEAM_SAVE_NAME_BYTES 64 /* room for a temporary file's name */

struct beam_save_file {
	int dir, fd, lock; /* -1: not open */
	bool direct, named;
	char temp_name[BEAM_SAVE_NAME_BYTES];
	char name[256]; /* the dump's */
};

/* Makes a file of which nothing is open. */
void beam_save_file_init(struct beam_save_file *file);
/* Opens directory, lock and file as the server's dir and dbfilename say. Returns 0, or an error
 * with a line of text in `why`. */
int beam_save_file_open(struct beam_save_file *file, RedisModuleCtx *ctx,
			char why[BEAM_REASON_BYTES]);
/* Writes the name that the server removes when it kills its child. Only the waiter gives the file
 * this name: until there is a waiter, stock saving may still need a file of its own with that name,
 * which Redis 7.0 has created before the hook. */
void beam_save_file_stock_name(char name[BEAM_SAVE_NAME_BYTES]);
/* Closes everything, and removes the temporary file if it has a name. Also for a file that was only
 * initialized. */
void beam_save_file_close(struct beam_save_file *file);

#endif
