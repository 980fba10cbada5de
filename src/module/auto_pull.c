/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Starts and follows the automatic pull.
 *
 * The pull detaches with a fork of its own, so that the server never gets a child that it does not
 * know. We hold the read end of its stderr: its lines go to the server's log, and end of file means
 * that the pull has ended. */
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
	bool own;            /* the REPLICAOF in progress was sent for a pull */
	bool planned;
	bool at_load; /* check in the server's first cron whether to pull */
	RedisModuleTimerID timer;
	struct beam_pull_process pull; /* fd -1: none */
	char host[256];                /* the primary it pulls from */
	long long port;
	bool attached; /* the server follows the pull instead of its primary */
	bool lost;     /* it still does, but the pull is gone */
	char line[512];
	size_t line_bytes;
} auto_ = {.pull.fd = -1};

/* Returns false if this server is not a replica. */
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

/* Kills the pull. Its guard process leaves alone a server that no longer follows the pull. */
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
	/* The pull prints its pid once, before it has connected anywhere. Later lines may contain
	 * text from the primary, and are not trusted. */
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
	/* A pull's guard leads the server back to its primary. If the server still follows the
	 * pull, the guard was killed as well. Leave the repair to the cron: a load may be running
	 * right now. */
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
		return; /* already logged; the server's own sync continues */
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

	/* A repeated order to follow the same primary (Sentinel sends one when it finds the server
	 * following the pull) means the server's own sync. A pull that does not feed the server yet
	 * is on its way to that primary anyway. */
	if (same && !auto_.attached)
		return;
	call_off("REPLICAOF");
	if (beam_config.auto_pull && !same)
		plan();
}

/* ---- RDBEAM.FOLLOW -------------------------------------------------------------------------- */

/* Returns NULL, or why a pull with this id may not make the server follow host:port. */
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
		/* Starts like the server's own error, which clients recognize, and adds the
		 * remedy. */
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
	auto_.at_load = true; /* `replicaof` in the configuration file raises no event */
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
	beam_redis_free_context(&auto_.ctx);
}
