/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The time by which the server tells keys that have come to their end. Within a command it is that of the
 * command's beginning, else it goes on, and in a child, too: a key whose time comes while the child copies
 * could not be read any more, although the primary may have given it a longer life after the fork, and
 * replicas would lack it for ever. So a child copies within a command (call() in server.c of Redis 7.0; from
 * 7.2 on events and timers of modules have such a time anyhow). Child only.
 */
#ifndef BEAM_STILL_H
#define BEAM_STILL_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

typedef int beam_still_fn(RedisModuleCtx *ctx, uint64_t forked_ns);

/* Calls fn(ctx, forked_ns), by a clock that stands still if the server allows that; returns what it does. */
int beam_still_run(RedisModuleCtx *ctx, beam_still_fn *fn, uint64_t forked_ns);

/* Called at the begin of RDBEAM.STATUS, the command that is used. True: it was for this. */
bool beam_still_take(void);

#endif
