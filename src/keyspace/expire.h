/* SPDX-License-Identifier: BSD-3-Clause
 * When a key expires, on any version of the server, and how to keep expired keys in a child. */
#ifndef BEAM_EXPIRE_H
#define BEAM_EXPIRE_H

#include "redis_api.h"

/* Unix time in milliseconds, or REDISMODULE_NO_EXPIRE. Servers before Redis 7.0.5 do not tell how
 * long ago a key expired: for an expired key of theirs this returns the current time. */
mstime_t beam_key_expire(RedisModuleKey *key);

/* From now on lookups by name in this process do not delete expired keys, nor do they return them.
 * Call it in a forked child only. */
void beam_keep_expired(RedisModuleCtx *ctx);

#endif
