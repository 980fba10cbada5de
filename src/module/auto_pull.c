/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The pull detaches by a fork of its own, so that the server never has a child that is not its own;
 * the other end of its stderr is held here: its lines go to the log, its end is the pull's. */
#include "auto_pull.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "command_names.h"
#include "config.h"
#include "log.h"
#include "pull_process.h"
#include "snapshot_facts.h"

struct primary {
	char host[256];
	long long port;
	bool link_up;
};

static struct {
	RedisModuleCtx *ctx; /* detached */
	bool own;            /* the REPLICAOF under way is a pull's */
	bool planned;
	bool at_load; /* to be looked at in the server's first cron */
	RedisModuleTimerID timer;
	struct beam_pull_process pull; /* fd -1: none */
	char host[256];                /* whom it goes to */
	long long port;
	bool attached; /* the server follows the pull, not its primary */
	bool lost;     /* it does, and there is no pull any more */
	char line[512];
	size_t line_bytes;
} auto_ = {.pull.fd = -1};

/* False: this server is no replica. */
static bool read_primary(struct primary *out)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(auto_.ctx, "replication");
	const char *host = RedisModule_ServerInfoGetFieldC(info, "master_host");
	const char *link = RedisModule_ServerInfoGetFieldC(info, "master_link_status");
	int err;

	snprintf(out->host, sizeof(out->host), "%s", host ? host : "");
	out->port = RedisModule_ServerInfoGetFieldSigned(info, "master_port", &err);
	out->link_up = link && strcmp(link, "up") == 0;
	RedisModule_FreeServerInfo(auto_.ctx, info);
	return out->host[0] != 0;
}

/* ---- the pull's process --------------------------------------------------------------------- */

static void forget(void)
{
	if (auto_.pull.fd >= 0)
		RedisModule_EventLoopDel(auto_.pull.fd, REDISMODULE_EVENTLOOP_READABLE);
	beam_pull_process_close(&auto_.pull);
	auto_.attached = false;
	auto_.line_bytes = 0;
}

/* Its guard leaves a server alone that does not follow it any more. */
static void call_off(const char *why)
{
	if (auto_.pull.fd < 0)
		return;
	beam_log(BEAM_LOG_NOTICE, "auto-pull from %s:%lld is cancelled: %s", auto_.host, auto_.port,
		 why);
	beam_pull_process_kill(&auto_.pull);
	forget();
}

static void take_line(void)
{
	int pid;

	auto_.line[auto_.line_bytes] = 0;
	auto_.line_bytes = 0;
	/* It says so once, before it has heard of anybody: later lines may hold a primary's words. */
	if (!auto_.pull.pid && sscanf(auto_.line, "pid %d", &pid) == 1)
		auto_.pull.pid = pid;
	else if (auto_.line[0])
		beam_log(BEAM_LOG_NOTICE, "auto-pull: %s", auto_.line);
}

static void on_output(int fd, void *arg, int mask)
{
	char bytes[1024];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	(void)arg;
	(void)mask;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] == '\n' || auto_.line_bytes + 1 == sizeof(auto_.line))
			take_line();
		if (bytes[i] != '\n')
			auto_.line[auto_.line_bytes++] = bytes[i];
	}
	if (n > 0)
		return;
	take_line();
	/* Its guard would have led the server home: it was killed, too. Not here: a load may run. */
	auto_.lost = auto_.attached;
	forget();
}

static void go_home(void)
{
	char port[24];

	auto_.lost = false;
	snprintf(port, sizeof(port), "%lld", auto_.port);
	beam_log(BEAM_LOG_WARNING,
		 "auto-pull from %s:%s ended without a message: the server's own sync takes over",
		 auto_.host, port);
	auto_.own = true;
	RedisModuleCallReply *reply =
	    RedisModule_Call(auto_.ctx, beam_command("REPLICAOF"), "cc", auto_.host, port);

	auto_.own = false;
	if (reply)
		RedisModule_FreeCallReply(reply);
}

/* ---- when to pull --------------------------------------------------------------------------- */

static void begin(RedisModuleCtx *ctx, void *arg)
{
	struct primary primary;

	(void)ctx;
	(void)arg;
	auto_.planned = auto_.at_load = false;
	if (!beam_config.auto_pull || !read_primary(&primary) || primary.link_up ||
	    auto_.pull.fd >= 0)
		return;
	int rc = beam_pull_process_start(auto_.ctx, primary.host, primary.port, &auto_.pull);

	if (rc)
		return; /* logged; the server's own sync goes on */
	memcpy(auto_.host, primary.host, sizeof(auto_.host));
	auto_.port = primary.port;
	if (RedisModule_EventLoopAdd(auto_.pull.fd, REDISMODULE_EVENTLOOP_READABLE, on_output,
				     NULL) != REDISMODULE_OK)
		call_off("no memory");
}

static void plan(void)
{
	if (!auto_.planned)
		auto_.timer = RedisModule_CreateTimer(auto_.ctx, 0, begin, NULL);
	auto_.planned = true;
}

static void on_role(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	struct primary primary;

	(void)ctx;
	(void)event;
	(void)data;
	if (auto_.own)
		return;
	auto_.lost = false;
	if (sub != REDISMODULE_ROLE_NOW_REPLICA || !read_primary(&primary)) {
		call_off("the server is its own primary now");
		return;
	}
	bool same = auto_.pull.fd >= 0 && primary.port == auto_.port &&
		    strcmp(primary.host, auto_.host) == 0;

	/* Whoever repeats where to go (Sentinel, when it finds the server with the pull) has the
	 * server's own sync; a pull that has not begun to feed is on its way there anyhow. */
	if (same && !auto_.attached)
		return;
	call_off("REPLICAOF");
	if (beam_config.auto_pull && !same)
		plan();
}

/* ---- RDBEAM.FOLLOW -------------------------------------------------------------------------- */

/* NULL, or why a pull with this id may not lead the server to host:port. */
static const char *objection(const char *id, const char *host, long long port)
{
	struct primary primary;

	if (!id)
		return NULL;
	if (auto_.pull.fd < 0 || strcmp(id, auto_.pull.id) != 0)
		return "ERR this pull was cancelled";
	bool home = port == auto_.port && strcmp(host, auto_.host) == 0;

	if (!home && read_primary(&primary) && primary.link_up && primary.port == auto_.port &&
	    strcmp(primary.host, auto_.host) == 0)
		return "ERR the server's own sync was faster";
	auto_.attached = !home;
	return NULL;
}

int beam_auto_pull_follow(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	const char *host = RedisModule_StringPtrLen(argv[1], NULL);
	const char *port = RedisModule_StringPtrLen(argv[2], NULL);
	const char *id = argc > 3 ? RedisModule_StringPtrLen(argv[3], NULL) : NULL;
	const char *why = objection(id, host, strtoll(port, NULL, 10));
	char text[256];
	size_t len = 0;

	if (why)
		return RedisModule_ReplyWithError(ctx, why);
	if (!id)
		call_off("another pull is filling the server");
	auto_.own = true;
	RedisModuleCallReply *reply =
	    RedisModule_Call(ctx, beam_command("REPLICAOF"), "cc", host, port);

	auto_.own = false;
	if (!reply)
		/* As the server itself says it: who is told the name may go on by that. */
		return RedisModule_ReplyWithError(
		    ctx, "ERR unknown command 'REPLICAOF': it is renamed (rename-command), and no "
			 "configuration file has its new name");
	bool failed = RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ERROR;
	const char *said = RedisModule_CallReplyStringPtr(reply, &len);

	snprintf(text, sizeof(text), "%.*s", said ? (int)len : 0, said ? said : "");
	RedisModule_FreeCallReply(reply);
	return failed ? RedisModule_ReplyWithError(ctx, text)
		      : RedisModule_ReplyWithSimpleString(ctx, "OK");
}

/* ---- open, close ---------------------------------------------------------------------------- */

int beam_auto_pull_open(RedisModuleCtx *ctx)
{
	RedisModuleEvent role = {REDISMODULE_EVENT_ROLE_CHANGED, 1};

	auto_.ctx = RedisModule_GetDetachedThreadSafeContext(ctx);
	if (!auto_.ctx)
		return -ENOMEM;
	if (RedisModule_SubscribeToServerEvent(ctx, role, on_role) != REDISMODULE_OK)
		return -EINVAL;
	auto_.at_load = true; /* a `replicaof` in the configuration file makes no event */
	return 0;
}

void beam_auto_pull_on_cron(void)
{
	if (auto_.lost)
		go_home();
	if (auto_.at_load)
		begin(auto_.ctx, NULL);
}

void beam_auto_pull_close(void)
{
	call_off("the module is unloaded");
	if (auto_.planned)
		RedisModule_StopTimer(auto_.ctx, auto_.timer, NULL);
	RedisModule_FreeThreadSafeContext(auto_.ctx);
}
