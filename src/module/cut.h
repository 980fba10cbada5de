/* SPDX-License-Identifier: BSD-3-Clause
 * The cut: the position in the replication stream at which a snapshot was taken. A partial resync
 * can continue from there only if it is known which database the next write goes to, so the parent
 * marks the cut in the stream where it can, and the child uses what the parent reports. */
#ifndef BEAM_CUT_H
#define BEAM_CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

/* Marks the cut and publishes the result to the child. Main thread of the parent, right after it
 * has forked a child that takes a snapshot. */
void beam_cut_mark(RedisModuleCtx *ctx);

/* In that child: returns true if a partial resync can continue from its cut. *stream_db is then the
 * database selected in the stream: any, for a primary's marked cut; on a replica, the one that its
 * primary selected last. Blocks until the parent has reported, for one second at most; false if it
 * does not. */
bool beam_cut_is_marked(int64_t *stream_db);

/* Why nobody could continue from an image made now, as text for an error reply (static storage);
 * NULL if nothing stands in the way. Main thread. */
const char *beam_cut_obstacle(RedisModuleCtx *ctx);

#endif
