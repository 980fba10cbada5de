/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The file that a save goes to until it is whole and takes the dump's name: the server's directory, a
 * temporary file in it, and a lock on the dump's name, which the waiter keeps. Child only.
 */
#ifndef BEAM_SAVE_FILE_H
#define BEAM_SAVE_FILE_H

#include <stdbool.h>

#include "redis_api.h"
#include "shared.h"

/* Name of the temporary file where the file system has no unnamed ones; takes a pid. */
#define BEAM_SAVE_TEMP_NAME  "temp-rdbeam-%d.rdb"
#define BEAM_SAVE_NAME_BYTES 64 /* of a temporary file's name */

struct beam_save_file {
	int dir, fd, lock; /* -1: not open */
	bool direct, named;
	char temp_name[BEAM_SAVE_NAME_BYTES];
	char name[256]; /* the dump's */
};

void beam_save_file_init(struct beam_save_file *file);
/* Opens all of it, by the server's dir and dbfilename. 0, or an error whose line is in `why`. */
int beam_save_file_open(struct beam_save_file *file, RedisModuleCtx *ctx,
			char why[BEAM_REASON_BYTES]);
/* The name that the server removes when it kills its child. The waiter takes it for the file: until there
 * is one, stock saving may still need its own file of that name, which Redis 7.0 has made before the hook. */
void beam_save_file_stock_name(char name[BEAM_SAVE_NAME_BYTES]);
/* Removes what has a name. For one that was only initialized, too. */
void beam_save_file_close(struct beam_save_file *file);

#endif
