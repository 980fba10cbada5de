/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs `rdbeam pull` for this server. Passwords go by the environment, never by argv. Main thread.
 */
#ifndef BEAM_PULL_PROCESS_H
#define BEAM_PULL_PROCESS_H

#include <sys/types.h>

#include "redis_api.h"

struct beam_pull_process {
	int fd;      /* its stderr, non-blocking; -1: none */
	pid_t pid;   /* 0 until it has said it */
	char id[33]; /* proves its RDBEAM.FOLLOW to be of the pull that is wanted */
};

/* Starts a pull from host:port into this server. 0, or an error (logged). */
int beam_pull_process_start(RedisModuleCtx *ctx, const char *host, long long port,
			    struct beam_pull_process *out);
void beam_pull_process_kill(const struct beam_pull_process *process);
void beam_pull_process_close(struct beam_pull_process *process);

#endif
