/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The waiter: what the BGSAVE child becomes once its copy is complete. It holds none of the
 * server's memory, only the table, the extents and the dump's file. Only the waiter gives the file
 * its name, so the server can cancel the save until the end by killing its child.
 */
#ifndef DAEMON_WAITER_H
#define DAEMON_WAITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "region.h"

struct waiter {
	int sock, table, dir, file;
	int keep; /* held open until the waiter exits: the lock on the dump's name; -1: none */
	int extents[BEAM_EXTENTS_MAX]; /* -1: not given */
	uint32_t nextents;
	bool named, direct;
	/* Write as stock saving does: to a file with a name, in order, buffered, without trimming. */
	bool plain;
	const char *temp, *name; /* in `dir` */
	const char *was;         /* initial name of a named file; NULL: it is `temp` */
	pid_t server;
};

/* `rdbeamd --wait key=value...`; argv starts after these two words. Returns the exit code. */
int waiter_main(int argc, char **argv);

/* Parses the arguments into *out, which points into argv. Returns 0, or -EINVAL after printing to
 * stderr. */
int waiter_parse(int argc, char **argv, struct waiter *out);

/* Writes the image from the inherited memory to a new file and syncs it, if the daemon is gone. On
 * success waiter->file and ->named describe the new file. Returns 0, or a negative code after
 * printing to stderr. */
int rescue_write(struct waiter *waiter);

#endif
