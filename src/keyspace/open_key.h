/* SPDX-License-Identifier: BSD-3-Clause
 * A key as a walk of the keyspace finds it. */
#ifndef BEAM_OPEN_KEY_H
#define BEAM_OPEN_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "redis_api.h"

struct beam_open_key {
	RedisModuleKey *handle; /* open for reading, as a scan's callback gets it */
	const char *name;       /* raw bytes, valid during the call */
	size_t name_bytes;
	RedisModuleString *string; /* the name as the scan gave it, or NULL */
	bool may_expire;           /* false: the database has no key with a TTL */
	bool knows_expire;         /* expire_ms was found beside the key: nobody need be asked */
	mstime_t expire_ms;        /* REDISMODULE_NO_EXPIRE: none */
	const void *object;        /* the value, where that is known without the handle */
};

#endif
