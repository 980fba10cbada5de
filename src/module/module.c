/* SPDX-License-Identifier: BSD-3-Clause
 * rdbeam.so: what the server calls at load and unload, and the commands' entry points. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "auto_pull.h"
#include "config.h"
#include "fields.h"
#include "fork_thp.h"
#include "help.h"
#include "hook.h"
#include "link.h"
#include "load.h"
#include "log.h"
#include "rdbeam/error.h"
#include "rdbeam/version.h"
#include "redis_api.h"
#include "requests.h"
#include "shared.h"
#include "witness.h"

#define MODULE_VERSION                                                                             \
	(RDBEAM_VERSION_MAJOR * 10000 + RDBEAM_VERSION_MINOR * 100 + RDBEAM_VERSION_PATCH)

static RedisModuleCtx *log_ctx;

static void log_to_server(enum beam_log_level level, const char *text, void *arg)
{
	static const char *const names[] = {"debug", "verbose", "notice", "warning"};

	(void)arg;
	RedisModule_Log(log_ctx, names[level], "%s", text);
}

/* ---- commands ------------------------------------------------------------------------------- */

static int snapshot_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	long long wait_ms = 0;

	if (argc != 1 && argc != 3)
		return RedisModule_WrongArity(ctx);
	if (argc == 3 && strcasecmp(RedisModule_StringPtrLen(argv[1], NULL), "wait") != 0)
		return RedisModule_ReplyWithError(ctx,
						  "ERR syntax error: RDBEAM.SNAPSHOT [WAIT ms]");
	if (argc == 3 && (RedisModule_StringToLongLong(argv[2], &wait_ms) != REDISMODULE_OK ||
			  wait_ms < 1 || wait_ms > 86400000))
		return RedisModule_ReplyWithError(ctx, "ERR WAIT takes 1 to 86400000 milliseconds");
	return beam_requests_snapshot(ctx, wait_ms);
}

static int ticket_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	if (argc > 2)
		return RedisModule_WrongArity(ctx);
	if (argc == 2 && strcasecmp(RedisModule_StringPtrLen(argv[1], NULL), "fresh") != 0)
		return RedisModule_ReplyWithError(ctx, "ERR syntax error: RDBEAM.TICKET [FRESH]");
	return beam_requests_ticket(ctx, argc == 2);
}

static int status_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	(void)argv;
	if (argc != 1)
		return RedisModule_WrongArity(ctx);
	return beam_fields_reply(ctx);
}

static int load_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	(void)argv;
	if (argc != 1)
		return RedisModule_WrongArity(ctx);
	return beam_load_command(ctx);
}

static int follow_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	if (argc != 3 && argc != 4)
		return RedisModule_WrongArity(ctx);
	return beam_auto_pull_follow(ctx, argv, argc);
}

static int help_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	long n = 0;

	(void)argv;
	while (beam_command_help[n])
		n++;
	if (argc != 1)
		return RedisModule_WrongArity(ctx);
	RedisModule_ReplyWithArray(ctx, n);
	for (long i = 0; i < n; i++)
		RedisModule_ReplyWithSimpleString(ctx, beam_command_help[i]);
	return REDISMODULE_OK;
}

static RedisModuleCommandArg snapshot_args[] = {
    {.name = "ms",
     .type = REDISMODULE_ARG_TYPE_INTEGER,
     .key_spec_index = -1,
     .token = "WAIT",
     .flags = REDISMODULE_CMD_ARG_OPTIONAL},
    {0},
};

static RedisModuleCommandArg ticket_args[] = {
    {.name = "fresh",
     .type = REDISMODULE_ARG_TYPE_PURE_TOKEN,
     .key_spec_index = -1,
     .token = "FRESH",
     .flags = REDISMODULE_CMD_ARG_OPTIONAL},
    {0},
};

static const struct {
	const char *name;
	RedisModuleCmdFunc run;
	const char *flags;
	int arity;
	const char *summary;
	const char *complexity;
	RedisModuleCommandArg *args;
} commands[] = {
    {"rdbeam.snapshot", snapshot_command, "admin deny-script", -1,
     "Makes an image of the keyspace in shared memory.",
     "O(N) in a forked child, where N is the number of keys; the server only forks.",
     snapshot_args},
    {"rdbeam.ticket", ticket_command, "admin deny-script", -1,
     "Hands out a one-use ticket for pulling the image.",
     "O(1) for a retained image, else as RDBEAM.SNAPSHOT.", ticket_args},
    {"rdbeam.load", load_command, "admin deny-script allow-stale", 1,
     "Offers this server's loading by module to a pull on this host.", "O(1)", NULL},
    {"rdbeam.follow", follow_command, "admin deny-script allow-stale", -3,
     "REPLICAOF by a pull: starts no pull of its own.", "O(1)", NULL},
    {"rdbeam.status", status_command, "admin fast allow-loading allow-stale", 1,
     "Returns the state of daemon, region, image and pulls.", "O(1)", NULL},
    {"rdbeam.help", help_command, "admin fast allow-loading allow-stale", 1,
     "Returns a text about the rdbeam commands.", "O(1)", NULL},
};

static int add_commands(RedisModuleCtx *ctx)
{
	/* Sizes of the structs in the server's header; no history or key specs are given. */
	static const RedisModuleCommandInfoVersion version = {1, 16, 56,
							      sizeof(RedisModuleCommandArg)};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const char *name = commands[i].name;
		RedisModuleCommandInfo info = {
		    .version = &version,
		    .summary = commands[i].summary,
		    .complexity = commands[i].complexity,
		    .since = RDBEAM_VERSION,
		    .arity = commands[i].arity,
		    .args = commands[i].args,
		};

		if (RedisModule_CreateCommand(ctx, name, commands[i].run, commands[i].flags, 0, 0,
					      0) != REDISMODULE_OK)
			return -EEXIST;
		RedisModuleCommand *command = RedisModule_GetCommand(ctx, name);

		if (!command || RedisModule_SetCommandInfo(command, &info) != REDISMODULE_OK)
			return -EINVAL;
		if (RedisModule_SetCommandACLCategories)
			RedisModule_SetCommandACLCategories(command, "admin dangerous");
	}
	return 0;
}

/* ---- load and unload ------------------------------------------------------------------------ */

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx,
							      RedisModuleString **argv, int argc);
__attribute__((visibility("default"))) int RedisModule_OnUnload(RedisModuleCtx *ctx);

static void on_status(const struct beam_ctl_status *status)
{
	beam_witness_status(status);
	beam_requests_on_status(status);
}

static void on_config(void)
{
	beam_link_configure();
	beam_fork_thp_configure();
}

static int open_all(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	static const struct beam_link_events events = {
	    .opened = beam_requests_on_opened,
	    .status = on_status,
	};
	int err = beam_shared_open();

	if (!err)
		err = beam_config_load(ctx, argv, argc, on_config);
	if (!err)
		err = add_commands(ctx);
	if (!err && RedisModule_RegisterInfoFunc(ctx, beam_fields_info) != REDISMODULE_OK)
		err = -EINVAL;
	if (!err)
		err = beam_requests_open(ctx);
	if (!err)
		err = beam_hook_open(ctx, beam_requests_on_child);
	if (!err)
		err = beam_witness_open(ctx);
	if (!err)
		err = beam_load_open(ctx);
	if (!err)
		err = beam_auto_pull_open(ctx);
	if (!err)
		err = beam_link_open(ctx, &events);
	return err;
}

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	const char *missing = beam_redis_api_load(ctx);
	int err;

	if (missing) {
		/* Nothing can be said through an API that is not there. */
		fprintf(stderr,
			"rdbeam: this server has no RedisModule_%s: Redis 7.0 or later, or "
			"Valkey, is needed\n",
			missing);
		return REDISMODULE_ERR;
	}
	if (RedisModule_IsModuleNameBusy("rdbeam"))
		return REDISMODULE_ERR;
	RedisModule_SetModuleAttribs(ctx, "rdbeam", MODULE_VERSION, REDISMODULE_APIVER_1);
	/* The module keeps nothing in the keyspace: errors while loading and loads into a second
	 * database are none of its business, and must stay possible. */
	RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS |
					      REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD);
	log_ctx = RedisModule_GetDetachedThreadSafeContext(ctx);
	if (!log_ctx)
		return REDISMODULE_ERR;
	beam_log_init(log_to_server, NULL, BEAM_LOG_NOTICE);
	err = open_all(ctx, argv, argc);
	if (err) {
		RedisModule_Log(ctx, "warning", "not loaded: %s", beam_strerror(err));
		return REDISMODULE_ERR;
	}
	beam_fork_thp_open(log_ctx);
	return REDISMODULE_OK;
}

int RedisModule_OnUnload(RedisModuleCtx *ctx)
{
	(void)ctx;
	beam_fork_thp_close();
	beam_auto_pull_close();
	beam_load_close();
	beam_link_close();
	return REDISMODULE_OK;
}
