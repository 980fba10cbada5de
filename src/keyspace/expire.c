/* SPDX-License-Identifier: BSD-3-Clause
 * Expiry times. RM_GetExpire returns the time that is left. Read while the clock shows the same
 * millisecond before and after, it can be converted to an absolute time. */
#include "expire.h"

#include "clock.h"
#include "command_names.h"

mstime_t beam_key_expire(RedisModuleKey *key)
{
	uint64_t now_ms;
	mstime_t left_ms;

	if (RedisModule_GetAbsExpire)
		return RedisModule_GetAbsExpire(key);
	do {
		now_ms = beam_wall_ms();
		left_ms = RedisModule_GetExpire(key);
	} while (beam_wall_ms() != now_ms);
	return left_ms == REDISMODULE_NO_EXPIRE ? left_ms : (mstime_t)now_ms + left_ms;
}

/* A server does not delete expired keys while its clients are paused. Each deletion would notify
 * other modules, and these are not written to run in a child: one that takes a lock which some
 * thread held at the fork would hang forever. */
void beam_keep_expired(RedisModuleCtx *ctx)
{
	RedisModuleCallReply *reply =
	    RedisModule_Call(ctx, beam_command("CLIENT"), "ccc", "PAUSE", "1000000000", "WRITE");

	if (reply)
		RedisModule_FreeCallReply(reply);
}
