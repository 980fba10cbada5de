/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A snapshot, in a forked child: facts of the fork, a generation from the daemon, header, workers,
 * last segment; then the child becomes the waiter. Whatever fails is said once, counted, and left
 * to stock saving. Child only.
 */
#ifndef BEAM_SAVE_H
#define BEAM_SAVE_H

#include <stdint.h>

#include "ctl.h"
#include "redis_api.h"

/* BGSAVE's child: copies, then execs the waiter and does not return; returns when stock saving is
 * to go on. `forked_ns` is the clock at the child's start. */
void beam_save_to_disk(RedisModuleCtx *ctx, uint64_t forked_ns);

/* The table only. 0 when it is whole. Returns; the caller ends the process (module fork,
 * rdbeam.durable no) or lets stock saving go on (rdbeam.mode mirror). */
int beam_save_to_memory(RedisModuleCtx *ctx, uint64_t forked_ns);

#endif
