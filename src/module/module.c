/* SPDX-License-Identifier: BSD-3-Clause
 * rdbeam.so: the functions that the server calls on load and unload, and the entry points of the
 * commands. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "access.h"
#include "auto_pull.h"
#include "command_names.h"
#include "config.h"
#include "fields.h"
#include "fork_thp.h"
#include "help.h"
#include "hook.h"
#include "images.h"
#include "link.h"
#include "load.h"
#include "log.h"
#include "rdbeam/error.h"
#include "rdbeam/version.h"
#include "redis_api.h"
#include "relays.h"
#include "requests.h"
#include "shared.h"
#include "snapshot_facts.h"
#include "still.h"
#include "text.h"
#include "tickets.h"
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
	return beam_access_granted(ctx, "bgsave") ? beam_requests_snapshot(ctx, wait_ms)
						  : REDISMODULE_OK;
}

static int ticket_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	struct beam_ticket_ask ask = {0};

	if (!beam_access_granted(ctx, "psync"))
		return REDISMODULE_OK;
	for (int i = 1; i < argc; i++) {
		const char *word = RedisModule_StringPtrLen(argv[i], NULL);
		const char *next =
		    i + 1 < argc ? RedisModule_StringPtrLen(argv[i + 1], NULL) : NULL;

		if (strcasecmp(word, "fresh") == 0) {
			ask.fresh = true;
		} else if (strcasecmp(word, "relayed") == 0) {
			ask.relayed = true;
		} else if (strcasecmp(word, "for") == 0 && next &&
			   beam_gen_from_text(next, &ask.gen) == 0) {
			i++;
		} else if (strcasecmp(word, "avoid") == 0 && next &&
			   ask.avoid.n < BEAM_RELAY_AVOID_MAX) {
			snprintf(ask.avoid.name[ask.avoid.n++], BEAM_RELAY_NAME_BYTES, "%s", next);
			i++;
		} else {
			return RedisModule_ReplyWithError(
			    ctx, "ERR syntax error: RDBEAM.TICKET [FRESH] [FOR generation] "
				 "[RELAYED [AVOID relay ...]]");
		}
	}
	return beam_requests_ticket(ctx, &ask);
}

/* A relay's host must be an IP address, because readers connect to it without checking it
 * further. */
static int join(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	char host[BEAM_ADDR_BYTES];
	uint8_t packed[sizeof(struct in6_addr)];
	long long port;

	if (argc > 3)
		snprintf(host, sizeof(host), "%s", RedisModule_StringPtrLen(argv[3], NULL));
	else
		beam_requests_client_address(ctx, host);
	if (inet_pton(AF_INET, host, packed) != 1 && inet_pton(AF_INET6, host, packed) != 1)
		return RedisModule_ReplyWithError(
		    ctx,
		    "ERR JOIN takes a port, and an IPv4 or IPv6 address if the relay is reached by "
		    "another than this connection's");
	if (RedisModule_StringToLongLong(argv[2], &port) != REDISMODULE_OK || port < 1 ||
	    port > 65535)
		return RedisModule_ReplyWithError(ctx, "ERR JOIN takes a port, 1 to 65535");
	return beam_relays_join(ctx, host, port);
}

static int relay_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	const char *verb = argc > 1 ? RedisModule_StringPtrLen(argv[1], NULL) : "";
	struct beam_gen gen = {0};
	struct beam_cut cut;
	long long wait_ms = 0;

	if (argc < 3 || argc > 4)
		return RedisModule_WrongArity(ctx);
	if (!beam_access_granted(ctx, "psync"))
		return REDISMODULE_OK;
	if (strcasecmp(verb, "join") == 0)
		return join(ctx, argv, argc);
	beam_relays_heard(RedisModule_GetClientId(ctx), -1);
	const char *name = RedisModule_StringPtrLen(argv[2], NULL);
	bool waits = strcasecmp(verb, "wait") == 0;

	if ((!waits || strcmp(name, "-") != 0) && beam_gen_from_text(name, &gen))
		return RedisModule_ReplyWithError(
		    ctx, "ERR a generation is written as in INFO's rdbeam_generation");
	if (waits && argc == 4 &&
	    RedisModule_StringToLongLong(argv[3], &wait_ms) == REDISMODULE_OK && wait_ms >= 0 &&
	    wait_ms <= 86400000) {
		beam_relays_heard(RedisModule_GetClientId(ctx), wait_ms);
		return beam_requests_news(ctx, &gen, wait_ms);
	}
	if (argc == 3 && strcasecmp(verb, "hold") == 0) {
		beam_images_cut(&gen, &cut);
		return beam_relays_hold(ctx, &gen, &cut);
	}
	if (argc == 3 && strcasecmp(verb, "drop") == 0)
		return beam_relays_drop(ctx, &gen);
	return RedisModule_ReplyWithError(ctx, "ERR syntax error: RDBEAM.RELAY JOIN port [address] "
					       "| HOLD generation | DROP generation | "
					       "WAIT generation|- ms");
}

static int status_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	(void)argv;
	if (beam_still_take())
		return RedisModule_ReplyWithNull(ctx);
	if (argc != 1)
		return RedisModule_WrongArity(ctx);
	return beam_fields_reply(ctx);
}

static int load_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	(void)argv;
	if (argc != 1)
		return RedisModule_WrongArity(ctx);
	return beam_access_granted(ctx, "replicaof") ? beam_load_command(ctx) : REDISMODULE_OK;
}

static int follow_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	if (argc != 3 && argc != 4)
		return RedisModule_WrongArity(ctx);
	return beam_access_granted(ctx, "replicaof") ? beam_auto_pull_follow(ctx, argv, argc)
						     : REDISMODULE_OK;
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
     "Offers a pull on this host to load with this module's help.", "O(1)", NULL},
    {"rdbeam.follow", follow_command, "admin deny-script allow-stale", -3,
     "REPLICAOF as sent by a pull: does not start another pull.", "O(1)", NULL},
    {"rdbeam.relay", relay_command, "admin deny-script", -3,
     "Registers a relay: a host that serves the images it pulled.",
     "O(N) where N is the number of relays.", NULL},
    {"rdbeam.status", status_command, "admin fast allow-loading allow-stale", 1,
     "Returns the state of daemon, region, image and pulls.", "O(1)", NULL},
    {"rdbeam.help", help_command, "admin fast allow-loading allow-stale", 1,
     "Returns a text about the rdbeam commands.", "O(1)", NULL},
};

static int add_commands(RedisModuleCtx *ctx)
{
	/* Sizes of the structs in the server's header: history, key specs, argument. We give no
	 * history and no key specs. */
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

static void on_child(int died)
{
	beam_fork_thp_on_child(died);
	beam_requests_on_child(died);
}

/* Serves all parts of the module: a timer would prevent MODULE UNLOAD. */
static void on_cron(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	(void)ctx;
	(void)event;
	(void)sub;
	(void)data;
	beam_fork_thp_on_cron();
	beam_auto_pull_on_cron();
	beam_relays_on_cron();
	beam_link_on_cron();
}

/* The change may concern the port, protected mode or TLS. Only then ask the server for its
 * settings, because SLOWLOG and commandstats count the commands that do so. */
static void on_server_config(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	const RedisModuleConfigChange *change = data;

	(void)ctx;
	(void)event;
	(void)sub;
	for (uint32_t i = 0; i < change->num_changes; i++) {
		if (beam_config_is_of_message(change->config_names[i])) {
			beam_link_refresh();
			return;
		}
	}
}

static int open_events(RedisModuleCtx *ctx)
{
	RedisModuleEvent cron = {REDISMODULE_EVENT_CRON_LOOP, 1};
	RedisModuleEvent config = {REDISMODULE_EVENT_CONFIG, 1};

	/* On servers without this event, the next TICKET looks for changes. */
	(void)RedisModule_SubscribeToServerEvent(ctx, config, on_server_config);
	return RedisModule_SubscribeToServerEvent(ctx, cron, on_cron) == REDISMODULE_OK ? 0
											: -EINVAL;
}

static int open_all(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	static const struct beam_link_events events = {
	    .opened = beam_requests_on_opened,
	    .status = on_status,
	    .relay_key = beam_tickets_on_relay_key,
	    .ready = beam_requests_on_ready,
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
		err = beam_tickets_open(ctx);
	beam_relays_open(beam_tickets_on_relays);
	if (!err)
		err = beam_hook_open(ctx, on_child);
	if (!err)
		err = beam_witness_open(ctx);
	if (!err)
		err = beam_load_open(ctx);
	if (!err)
		err = beam_auto_pull_open(ctx);
	if (!err)
		err = open_events(ctx);
	if (!err)
		err = beam_link_open(ctx, &events);
	return err;
}

/* The module has nothing in the keyspace, so it must not stand in the way of error handling while
 * loading, of loads into a second database (swapdb), or of slot migration. */
static int options(RedisModuleCtx *ctx)
{
	int known = RedisModule_GetModuleOptionsAll ? RedisModule_GetModuleOptionsAll() : 0;
	int ours =
	    REDISMODULE_OPTIONS_HANDLE_IO_ERRORS | REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD;

	/* Only Valkey: another server may use the same bit for something else. */
	if (beam_server_is_valkey(ctx))
		ours |= known & VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION;
	return ours;
}

static void close_all(void)
{
	beam_fork_thp_close();
	beam_auto_pull_close();
	beam_load_close();
	beam_link_close();
	beam_witness_close();
	beam_tickets_close();
	beam_requests_close();
	beam_shared_close();
	beam_log_init(NULL, NULL, BEAM_LOG_NOTICE);
	beam_redis_free_context(&log_ctx);
}

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	const char *missing = beam_redis_api_load(ctx);
	int err;

	if (missing) {
		/* Print to stderr: there may be no API to log with. */
		fprintf(stderr,
			"rdbeam: this server has no RedisModule_%s: Redis 7.0 or later, or "
			"Valkey, is needed\n",
			missing);
		return REDISMODULE_ERR;
	}
	if (RedisModule_IsModuleNameBusy("rdbeam")) {
		RedisModule_Log(ctx, "warning",
				"rdbeam.so is not loaded once more: a module rdbeam is loaded");
		return REDISMODULE_ERR;
	}
	RedisModule_SetModuleAttribs(ctx, "rdbeam", MODULE_VERSION, REDISMODULE_APIVER_1);
	RedisModule_SetModuleOptions(ctx, options(ctx));
	log_ctx = RedisModule_GetDetachedThreadSafeContext(ctx);
	if (!log_ctx)
		return REDISMODULE_ERR;
	beam_log_init(log_to_server, NULL, BEAM_LOG_NOTICE);
	beam_command_names_find(ctx);
	err = open_all(ctx, argv, argc);
	if (err) {
		RedisModule_Log(ctx, "warning", "not loaded: %s", beam_strerror(err));
		close_all();
		return REDISMODULE_ERR;
	}
	beam_fork_thp_open(log_ctx);
	return REDISMODULE_OK;
}

int RedisModule_OnUnload(RedisModuleCtx *ctx)
{
	(void)ctx;
	if (beam_hook_has_own_child()) {
		beam_log(BEAM_LOG_WARNING,
			 "not unloaded: the child of a snapshot in memory is running, and the "
			 "server will report its end to this module; try again when INFO says "
			 "module_fork_in_progress:0");
		return REDISMODULE_ERR;
	}
	close_all();
	return REDISMODULE_OK;
}
