/* SPDX-License-Identifier: BSD-3-Clause
 * Logs a snapshot's line and adds its latency sample, once for each generation. */
#include "witness.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "shared.h"
#include "snapshot_facts.h"

static RedisModuleCtx *detached;
static struct beam_gen told;

int beam_witness_open(RedisModuleCtx *ctx)
{
	detached = RedisModule_GetDetachedThreadSafeContext(ctx);
	return detached ? 0 : -ENOMEM;
}

void beam_witness_close(void)
{
	beam_redis_free_context(&detached);
}

/* Reports the time during which a first write to a page copies it: this is what clients notice of a
 * snapshot after the fork. RM_LatencyAddSample compares with the threshold, but takes 0, which
 * means off, for a very low one (source: module.c of Redis 7.0.15). So check it here. */
static void add_sample(const struct beam_ctl_status *s)
{
	char threshold[32];

	if (!RedisModule_LatencyAddSample)
		return;
	beam_config_get(detached, "latency-monitor-threshold", threshold, sizeof(threshold));
	if (strtoll(threshold, NULL, 10) > 0)
		RedisModule_LatencyAddSample("rdbeam-copy", (mstime_t)s->cow_window_ms);
}

static uint64_t mb_per_s(uint64_t bytes, uint64_t ms)
{
	return bytes / 1000 / (ms ? ms : 1);
}

/* Many keys read by the API mean a slow snapshot, but a correct one: the fast path is off, or does
 * not know this server. */
static void tell(const struct beam_ctl_status *s)
{
	const struct beam_read_ways *ways = &beam_shared->ways;
	char disk[96] = "kept in memory";
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(detached, "stats");
	int err = 0;
	long long fork_us = RedisModule_ServerInfoGetFieldSigned(info, "latest_fork_usec", &err);

	RedisModule_FreeServerInfo(detached, info);

	if (s->flush_ms)
		snprintf(disk, sizeof(disk), "flushed in %" PRIu64 " ms (%" PRIu64 " MB/s)",
			 s->flush_ms, mb_per_s(s->flushed_bytes, s->flush_ms));
	beam_log(BEAM_LOG_NOTICE,
		 "snapshot %016" PRIx64 "-%" PRIu64 ": %" PRIu64 " key%s (%" PRIu64
		 " expired left out), %" PRIu64 " bytes, %" PRIu32
		 " worker%s; fork took %lld us, copied in %" PRIu64 " ms (%" PRIu64
		 " MB/s), copy-on-write for %" PRIu64 " ms, %s; read by layout (%" PRIu64
		 "), by the server's serializer (%" PRIu64 ") and by the module API (%" PRIu64
		 "); tables: %s",
		 s->gen.nonce, s->gen.counter, s->keys, s->keys == 1 ? "" : "s", s->expired,
		 s->image_bytes, s->nworkers, s->nworkers == 1 ? "" : "s", fork_us, s->copy_ms,
		 mb_per_s(s->image_bytes, s->copy_ms), s->cow_window_ms, disk, ways->by_layout,
		 ways->by_serializer, ways->by_api, beam_shared_tables());
}

void beam_witness_status(const struct beam_ctl_status *status)
{
	if (!status || status->state != BEAM_STATE_READY || !status->gen.counter)
		return;
	if (status->gen.nonce == told.nonce && status->gen.counter == told.counter)
		return;
	told = status->gen;
	tell(status);
	add_sample(status);
}
