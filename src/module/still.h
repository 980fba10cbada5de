/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Freezes the clock by which the server expires keys.
 *
 * Within a command that clock stays at the time when the command began; otherwise it advances, in a
 * child, too. A key that expires while the child copies could then not be read any more, although
 * the primary may have extended its TTL after the fork, and replicas would never get it. So the
 * child copies within a command (source: call() in server.c of Redis 7.0; from 7.2 on, events and
 * timers of modules have a frozen clock anyway). Child only.
 */
#ifndef BEAM_STILL_H
#define BEAM_STILL_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

typedef int beam_still_fn(RedisModuleCtx *ctx, uint64_t forked_ns);

/* Calls fn(ctx, forked_ns) and returns its result. The clock is frozen if the server lets us call a
 * command. */
int beam_still_run(RedisModuleCtx *ctx, beam_still_fn *fn, uint64_t forked_ns);

/* Called at the start of RDBEAM.STATUS, the command that serves for this. Returns true if it was
 * called by beam_still_run, and then fn has run. */
bool beam_still_take(void);

#endif
