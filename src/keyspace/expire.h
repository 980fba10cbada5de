/* SPDX-License-Identifier: BSD-3-Clause
 * When a key ends, of any server, and what becomes of it then in a child. */
#ifndef BEAM_EXPIRE_H
#define BEAM_EXPIRE_H

#include "redis_api.h"

/* Unix time in milliseconds, or REDISMODULE_NO_EXPIRE. Of a server before Redis 7.0.5, and of a key that has
 * ended there, the present: how long ago that was such a server does not say. */
mstime_t beam_key_expire(RedisModuleKey *key);

/* Lookups by name delete no key that has expired from now on, and show none. Child only. */
void beam_keep_expired(RedisModuleCtx *ctx);

#endif
