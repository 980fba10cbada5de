/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A snapshot, as the forked child takes it: read the facts of the fork, get a generation from the
 * daemon, write the header, run the workers, write the last segment; then the child becomes the
 * waiter. A failure is logged once and counted, and the server's stock saving takes over. Child
 * only.
 */
#ifndef BEAM_SAVE_H
#define BEAM_SAVE_H

#include <stdint.h>

#include "ctl.h"
#include "redis_api.h"

/* The child of a BGSAVE: copies the keyspace, then execs the waiter and does not return. Returns
 * only if stock saving is to continue. `forked_ns` is the monotonic clock at the child's start. */
void beam_save_to_disk(RedisModuleCtx *ctx, uint64_t forked_ns);

/* Takes a snapshot into the table only, without a file. Returns 0 if it is complete, or an error,
 * which has been logged. Then the caller ends the process (module fork, rdbeam.durable no) or lets
 * stock saving continue (rdbeam.mode mirror). */
int beam_save_to_memory(RedisModuleCtx *ctx, uint64_t forked_ns);

#endif
