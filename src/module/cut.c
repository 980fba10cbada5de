/* SPDX-License-Identifier: BSD-3-Clause
 * Marks the cut in the replication stream, and tells the forked child whether that worked.
 *
 * The parent puts the mark into the stream with two PUBLISH commands that have no subscriber. It
 * then posts its result in a futex word of the memory it shares with its children; the child waits
 * on that word. */
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

static uint32_t ncuts;      /* cuts announced by the parent; a child's own is the next one */
static bool publish_failed; /* during the last cut */

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

/* In a cluster, PUBLISH does not travel in the replication stream. With a single database the mark
 * is not needed there, and before Valkey 9 a cluster has only one. */
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

/* Uses only the stock names, which replicas have too: the stream carries the command as it was
 * called, and a name set by rename-command is a secret. */
static bool publish(RedisModuleCtx *ctx)
{
	return call(ctx, "PUBLISH") || call(ctx, "SPUBLISH");
}

/* Makes the stream carry a SELECT before the first write after the fork, whatever database was
 * selected before: it publishes one message in each of two databases. There is no mark
 * - without a replication backlog, because nobody can resync partially from such a stream;
 * - while a replica waits for a full resync, because the mark would change the offset it gets;
 * - while clients are paused, because a server exits rather than propagate a command then. */
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
	/* After the mark a primary's stream selects its database anew, so any number will do here.
	 * A replica that does not know its primary's selected database cannot offer its cut:
	 * whoever continued from there might apply writes to the wrong database. */
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
	/* The mark is its primary's job. */
	if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_SLAVE)
		return NULL;
	if (RedisModule_AvoidReplicaTraffic())
		return paused;
	if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER &&
	    !has_one_database(ctx))
		return several;
	return publish_failed ? renamed : NULL;
}
