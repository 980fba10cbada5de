/* SPDX-License-Identifier: BSD-3-Clause
 * The pointers to the module API's functions, and how they are fetched. */
#include "redis_api.h"

#define X(type, name, args) type(*RedisModule_##name) args;
BEAM_REDIS_API_REQUIRED(X)
BEAM_REDIS_API_OPTIONAL(X)
#undef X

typedef int get_api_fn(const char *name, void *slot);

const char *beam_redis_api_load(RedisModuleCtx *ctx)
{
	get_api_fn *get_api = *(get_api_fn **)(void *)ctx;

#define X(type, name, args)                                                                        \
	if (get_api("RedisModule_" #name, (void *)&RedisModule_##name))                            \
		return #name;
	BEAM_REDIS_API_REQUIRED(X)
#undef X
#define X(type, name, args)                                                                        \
	if (get_api("RedisModule_" #name, (void *)&RedisModule_##name))                            \
		RedisModule_##name = 0;
	BEAM_REDIS_API_OPTIONAL(X)
#undef X
	return 0;
}

void beam_redis_free_context(RedisModuleCtx **ctx)
{
	if (*ctx)
		RedisModule_FreeThreadSafeContext(*ctx);
	*ctx = 0;
}
