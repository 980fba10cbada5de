/* SPDX-License-Identifier: BSD-3-Clause
 * The mark in the replication stream at the place where a snapshot was made: without it nobody can go
 * on from there, as nothing says which database the next write is for. The parent marks, or cannot,
 * and the child goes by what it did. */
#ifndef BEAM_CUT_H
#define BEAM_CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

/* In the main thread, when a child is born that makes a snapshot: marks the cut, and tells the child. */
void beam_cut_mark(RedisModuleCtx *ctx);

/* In that child: whether one can go on from its cut, as it was marked, or is a replica's, whose stream is its
 * primary's: then *stream_db is the database selected there. Waits for the parent to say so, a second at most. */
bool beam_cut_is_marked(int64_t *stream_db);

/* In the main thread: why nobody could go on from an image made now, or NULL. */
const char *beam_cut_obstacle(RedisModuleCtx *ctx);

#endif
