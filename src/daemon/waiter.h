/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The waiter: what the BGSAVE child becomes once its copy is whole. It holds none of the server's
 * memory, only the table, the extents and the dump's file; it alone gives the file its name, so
 * that a signal of the server's to its child is always in time.
 */
#ifndef DAEMON_WAITER_H
#define DAEMON_WAITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "region.h"

struct waiter {
	int sock, table, dir, file;
	int keep; /* held open until the waiter ends: the lock on the dump's name; -1: none */
	int extents[BEAM_EXTENTS_MAX]; /* -1: not given */
	uint32_t nextents;
	bool named, direct;
	const char *temp, *name; /* in `dir` */
	const char *was;         /* what a named file is called at first; NULL: temp */
	pid_t server;
};

/* `rdbeamd --wait key=value...`: argv without these two. Returns the exit code. */
int waiter_main(int argc, char **argv);

/* Parses the arguments. 0, or -EINVAL after a line on stderr. */
int waiter_parse(int argc, char **argv, struct waiter *out);

/* Writes the image from the inherited memory to a new file of its own and makes it durable: what is
 * left when the daemon is gone. On success waiter->file, ->named are the new file's. 0, or a
 * negative code after a line on stderr. */
int rescue_write(struct waiter *waiter);

#endif
