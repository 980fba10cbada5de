/* SPDX-License-Identifier: BSD-3-Clause
 * Two messages that nobody listens to, and a word of shared memory. */
#include "cut.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "fault.h"
#include "shared.h"
#include "snapshot_facts.h"

#define CUT_CHANNEL "__rdbeam__:cut"
#define TELL_NS     1000000000u

static const char paused[] =
    "clients are paused (CLIENT PAUSE, or a failover is under way), and nobody could go on from a "
    "new image; try again when that is over";
static const char several[] =
    "cluster-databases is above 1, and an image does not tell which database the next write is "
    "for; let the replica sync by itself";
static const char renamed[] = "PUBLISH and SPUBLISH are renamed, and nobody could go on from a new "
			      "image; pull from a server that has "
			      "one of them";

static uint32_t ncuts;      /* that the parent has told of; a child has the count before its own */
static bool publish_failed; /* at the last cut */

static uint32_t told(uint32_t n, bool marked)
{
	return n << 1 | marked;
}

static bool is_wanted(RedisModuleCtx *ctx)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "replication");
	const char *role = RedisModule_ServerInfoGetFieldC(info, "role");
	const char *backlog = RedisModule_ServerInfoGetFieldC(info, "repl_backlog_active");
	bool wanted = role && strcmp(role, "master") == 0 && backlog && backlog[0] == '1' &&
		      !beam_facts_replica_waits(info);

	RedisModule_FreeServerInfo(ctx, info);
	return wanted;
}

/* A cluster's messages do not go the way of the stream. They are not needed there with one database,
 * which is all that a cluster has before Valkey 9. */
static bool has_one_database(RedisModuleCtx *ctx)
{
	char text[16];

	return !beam_config_get(ctx, "cluster-databases", text, sizeof(text)) ||
	       strcmp(text, "1") == 0;
}

static bool call(RedisModuleCtx *ctx, const char *command)
{
	RedisModuleCallReply *reply = RedisModule_Call(ctx, command, "!Acc", CUT_CHANNEL, "");
	bool done = reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_INTEGER;

	if (reply)
		RedisModule_FreeCallReply(reply);
	return done;
}

/* Only by names that replicas have: the stream bears what was called, and a new name is a secret. */
static bool publish(RedisModuleCtx *ctx)
{
	return call(ctx, "PUBLISH") || call(ctx, "SPUBLISH");
}

/* Makes the stream say SELECT before the first write after the fork, whatever was selected before: two
 * messages in two databases. A stream without a backlog cannot be continued from and needs no mark. A
 * replica that waits for a sync must get the offset that it would get without us. While clients are
 * paused the server bears no traffic in the stream: it ends itself rather than send what we call for. */
static bool mark(RedisModuleCtx *ctx)
{
	bool done = is_wanted(ctx) && !RedisModule_AvoidReplicaTraffic();

	(void)BEAM_FAULT("hook.cut");
	if (!done)
		return false;
	if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER)
		return has_one_database(ctx);
	for (int db = 0; db < 2; db++)
		if (RedisModule_SelectDb(ctx, db) == REDISMODULE_OK)
			done &= publish(ctx);
	RedisModule_SelectDb(ctx, 0);
	publish_failed = !done;
	return done;
}

void beam_cut_mark(RedisModuleCtx *ctx)
{
	bool is_replica = RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_SLAVE;
	/* A primary's stream says SELECT anew after the mark: any database will do. A replica without a stream does
	 * not know: who went on from there might write elsewhere. */
	int64_t db = is_replica ? beam_facts_primary_stream_db(ctx) : 0;
	bool marked = is_replica ? db >= 0 : mark(ctx);

	ncuts++;
	atomic_store(&beam_shared->stream_db, db);
	atomic_store(&beam_shared->cuts, told(ncuts, marked));
	syscall(SYS_futex, &beam_shared->cuts, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool beam_cut_is_marked(int64_t *stream_db)
{
	uint64_t until_ns = beam_now_ns() + TELL_NS, now_ns = 0;
	const uint32_t mine = ncuts + 1;
	uint32_t word;

	while ((word = atomic_load(&beam_shared->cuts)) != told(mine, true) &&
	       word != told(mine, false) && (now_ns = beam_now_ns()) < until_ns) {
		struct timespec rest = {.tv_nsec = (long)(until_ns - now_ns) % TELL_NS};

		syscall(SYS_futex, &beam_shared->cuts, FUTEX_WAIT, word, &rest, NULL, 0);
	}
	*stream_db = atomic_load(&beam_shared->stream_db);
	return word == told(mine, true);
}

const char *beam_cut_obstacle(RedisModuleCtx *ctx)
{
	/* Its primary marks the stream. */
	if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_SLAVE)
		return NULL;
	if (RedisModule_AvoidReplicaTraffic())
		return paused;
	if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER &&
	    !has_one_database(ctx))
		return several;
	return publish_failed ? renamed : NULL;
}
