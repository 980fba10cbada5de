/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs `rdbeam pull` for this server. Passwords are passed in the environment, never in argv. Main
 * thread.
 */
#ifndef BEAM_PULL_PROCESS_H
#define BEAM_PULL_PROCESS_H

#include <sys/types.h>

#include "redis_api.h"

struct beam_pull_process {
	int fd;      /* the pull's stderr, non-blocking; -1: no pull */
	pid_t pid;   /* 0 until the pull has printed it */
	char id[33]; /* random; marks RDBEAM.FOLLOW as this pull's */
};

/* Starts a pull from host:port into this server. Returns 0 and *out, or an error, which has been
 * logged. */
int beam_pull_process_start(RedisModuleCtx *ctx, const char *host, long long port,
			    struct beam_pull_process *out);
/* Sends SIGTERM, if the pid is known. Does not wait. */
void beam_pull_process_kill(const struct beam_pull_process *process);
/* Closes the pipe and forgets the pull, which goes on if it was not killed. */
void beam_pull_process_close(struct beam_pull_process *process);

#endif
