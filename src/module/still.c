/* SPDX-License-Identifier: BSD-3-Clause
 * beam_still_run() leaves the function in `still` and calls RDBEAM.STATUS, which finds it there and
 * runs it within the command. */
#include "still.h"

static struct {
	beam_still_fn *fn; /* NULL: a client has called the command */
	RedisModuleCtx *ctx;
	uint64_t forked_ns;
	int result;
} still;

bool beam_still_take(void)
{
	beam_still_fn *fn = still.fn;

	if (!fn)
		return false;
	still.fn = NULL;
	still.result = fn(still.ctx, still.forked_ns);
	return true;
}

int beam_still_run(RedisModuleCtx *ctx, beam_still_fn *fn, uint64_t forked_ns)
{
	still.fn = fn;
	still.ctx = ctx;
	still.forked_ns = forked_ns;
	RedisModuleCallReply *reply = RedisModule_Call(ctx, "RDBEAM.STATUS", "");

	if (reply)
		RedisModule_FreeCallReply(reply);
	beam_still_take(); /* the command was refused: run with a clock that advances */
	return still.result;
}
