/* SPDX-License-Identifier: BSD-3-Clause
 * A key as a walk of the keyspace passes it on. */
#ifndef BEAM_OPEN_KEY_H
#define BEAM_OPEN_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "redis_api.h"

struct beam_open_key {
	RedisModuleKey *handle; /* open for reading, as in a scan's callback */
	const char *name;       /* raw bytes, valid during the call */
	size_t name_bytes;
	RedisModuleString *string; /* the name as the scan passed it, or NULL */
	bool may_expire;           /* false: no key of this database has a TTL */
	bool knows_expire;         /* expire_ms was found next to the key */
	mstime_t expire_ms;        /* REDISMODULE_NO_EXPIRE: none */
	const void *object;        /* the value, if known without the handle; else NULL */
};

#endif
