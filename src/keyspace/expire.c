/* SPDX-License-Identifier: BSD-3-Clause
 * RM_GetExpire tells what is left. While the clock stands still for the question, that is a time. */
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

/* While its clients are paused a server deletes none. It would tell other modules of each, which are not made to be
 * called in a child: one that takes a lock there that a thread held at the fork never ends. */
void beam_keep_expired(RedisModuleCtx *ctx)
{
	RedisModuleCallReply *reply =
	    RedisModule_Call(ctx, beam_command("CLIENT"), "ccc", "PAUSE", "1000000000", "WRITE");

	if (reply)
		RedisModule_FreeCallReply(reply);
}
