/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam relay: serves a primary's images to others, or keeps them as files.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "connect.h"
#include "log.h"
#include "rdbeam/error.h"
#include "relay.h"
#include "report.h"
#include "text.h"

struct relay_opts {
	struct beam_common common;
	struct beam_connect_tls tls;
	const char *from, *from_user, *from_pass;
	const char *listen, *announce;
	bool follow;
	const char *dir;
	int64_t keep;
	int64_t max_pulls;
	uint64_t rate_limit;
	int64_t timeout_s;
};

static const struct beam_option relay_options[] = {
    {.name = "--from",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct relay_opts, from),
     .value = "ADDR",
     .help = "The primary, with rdbeam.so loaded: host:port or redis://user:password@host:port; "
	     "rediss:// for TLS."},
    {.name = "--listen",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct relay_opts, listen),
     .value = "ADDR",
     .help = "Where to listen for pulls: address:port, or *:port for all addresses."},
    {.name = "--announce",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct relay_opts, announce),
     .value = "ADDR",
     .help = "address:port that the primary gives to pulls, if different. Default: that of "
	     "--listen; for *, the address that the primary sees."},
    {.name = "--follow",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct relay_opts, follow),
     .help = "Do not serve pulls, but write each new image to a file in --dir."},
    {.name = "--dir",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct relay_opts, dir),
     .value = "DIR",
     .help = "With --follow: directory for the files, named rdbeam-TIME-GENERATION.rdb."},
    {.name = "--keep",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct relay_opts, keep),
     .value = "N",
     .min = 1,
     .max = 100000,
     .help = "With --follow: how many files to keep. Default 7."},
    {.name = "--max-pulls",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct relay_opts, max_pulls),
     .value = "N",
     .min = 1,
     .max = 1024,
     .help = "Maximum concurrent pulls; further pulls wait in a queue. Default 16."},
    {.name = "--rate-limit",
     .kind = BEAM_OPT_BYTES,
     .offset = offsetof(struct relay_opts, rate_limit),
     .value = "BYTES",
     .help = "Bytes per second for all pulls together. Default 0: no limit."},
    {.name = "--from-user",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct relay_opts, from_user),
     .value = "NAME",
     .help = "ACL user at the primary."},
    {.name = "--from-pass",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct relay_opts, from_pass),
     .value = "PASSWORD",
     .help = "Password there; safer in the environment: RDBEAM_FROM_PASS or REDISCLI_AUTH."},
    {.name = "--timeout",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct relay_opts, timeout_s),
     .value = "SECONDS",
     .min = 1,
     .max = 100000,
     .help = "Limit for each step, such as connecting. Default 10."},
    BEAM_CONNECT_TLS_OPTIONS(struct relay_opts, tls),
    BEAM_COMMON_OPTIONS(struct relay_opts),
};

static const struct relay_opts relay_defaults = {.keep = 7, .max_pulls = 16, .timeout_s = 10};

/* Parses "address:port", "[v6]:port" or "*:port". Returns 0 or -EINVAL. */
static int parse_address(const char *text, char address[BEAM_ADDR_BYTES], uint32_t *port)
{
	const char *colon = strrchr(text, ':'), *from = text;
	size_t len = colon ? (size_t)(colon - text) : 0;
	char *end;

	if (!colon)
		return -EINVAL;
	long number = strtol(colon + 1, &end, 10);

	if (len > 1 && text[0] == '[' && text[len - 1] == ']') {
		from++;
		len -= 2;
	}
	if (!len || len >= BEAM_ADDR_BYTES || *end || end == colon + 1 || number < 1 ||
	    number > 65535)
		return -EINVAL;
	snprintf(address, BEAM_ADDR_BYTES, "%.*s", (int)len, from);
	*port = (uint32_t)number;
	return 0;
}

static void report(void *arg, int code, const struct beam_pull_result *result, const char *file)
{
	const struct relay_opts *opts = arg;
	char gen[BEAM_GEN_TEXT_BYTES], bytes[BEAM_TEXT_CAP], keys[BEAM_TEXT_CAP],
	    time[BEAM_TEXT_CAP];

	beam_gen_to_text(&result->gen, gen);
	if (opts->common.json) {
		cJSON *object = cJSON_CreateObject();

		beam_json_text(object, "generation", gen);
		beam_json_u64(object, "keys", result->keys);
		beam_json_u64(object, "image_bytes", result->image_bytes);
		beam_json_u64(object, "total_ms", result->total_ms);
		if (file)
			beam_json_text(object, "file", file);
		if (code)
			beam_json_text(object, "error",
				       result->error[0] ? result->error : beam_strerror(code));
		beam_json_print(object);
	} else if (code) {
		fprintf(stderr, "generation %s: %s\n", gen,
			result->error[0] ? result->error : beam_strerror(code));
	} else {
		printf("generation %s: %s, %s in %s%s%s\n", gen,
		       beam_text_counted(keys, result->keys, "key"),
		       beam_text_bytes(bytes, result->image_bytes),
		       beam_text_ms(time, result->total_ms), file ? ", " : "", file ? file : "");
	}
	fflush(stdout);
}

static int run_follow(const struct relay_opts *opts, const struct beam_redis_addr *from)
{
	struct beam_follow_opts follow = {.from = *from,
					  .dir = opts->dir,
					  .keep = (uint32_t)opts->keep,
					  .transport = "auto",
					  .timeout_ms = (int)opts->timeout_s * 1000};
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	int code;

	if (!opts->dir)
		return beam_fail_usage(&opts->common,
				       "--dir: missing: give the directory of the files");
	if (opts->listen)
		return beam_fail_usage(&opts->common,
				       "--follow and --listen: both given: choose one "
				       "(two relays can run side by side)");
	code = beam_follow_run(&follow, report, (void *)(uintptr_t)opts, error);
	explicit_bzero(follow.from.password, sizeof(follow.from.password));
	return beam_fail(&opts->common, code, "%s", error);
}

/* True for an address that readers can be sent to: neither a name nor all addresses of the host. */
static bool is_address(const char *listen)
{
	return strspn(listen, "0123456789abcdefABCDEF.:") == strlen(listen) &&
	       strcmp(listen, "0.0.0.0") != 0 && strcmp(listen, "::") != 0;
}

static int run_relay(const struct relay_opts *opts, const struct beam_redis_addr *from)
{
	struct beam_relay_opts relay = {.from = *from,
					.max_pulls = (uint32_t)opts->max_pulls,
					.rate_limit = opts->rate_limit,
					.timeout_ms = (int)opts->timeout_s * 1000};
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	int code;

	if (opts->dir)
		return beam_fail_usage(&opts->common, "--dir: goes with --follow: add that");
	if (!opts->listen)
		return beam_fail_usage(
		    &opts->common, "--listen: missing: give address:port to serve on, or --follow");
	if (parse_address(opts->listen, relay.listen, &relay.port))
		return beam_fail_usage(
		    &opts->common,
		    "--listen %s: not understood: give address:port, [v6]:port or "
		    "*:port",
		    opts->listen);
	if (opts->announce && parse_address(opts->announce, relay.announce, &relay.announce_port))
		return beam_fail_usage(
		    &opts->common, "--announce %s: not understood: give address:port or [v6]:port",
		    opts->announce);
	if (!opts->announce && is_address(relay.listen))
		memcpy(relay.announce, relay.listen, sizeof(relay.announce));
	code = beam_relay_run(&relay, report, (void *)(uintptr_t)opts, error);
	explicit_bzero(relay.from.password, sizeof(relay.from.password));
	return code ? beam_fail(&opts->common, code, "%s", error) : BEAM_EXIT_DONE;
}

static int relay_run(void *arg, int nargs, char **args)
{
	const struct relay_opts *opts = arg;
	struct beam_redis_addr from = {0};
	int code;

	(void)nargs;
	(void)args;
	if (!opts->from)
		return beam_fail_usage(&opts->common,
				       "--from: missing: give the primary's host:port");
	code = beam_connect_addr(&opts->common, "--from", opts->from, opts->from_user,
				 opts->from_pass, "RDBEAM_FROM_PASS", &opts->tls, &from);
	if (code)
		return code;
	if (!opts->common.quiet)
		beam_log_init(NULL, NULL, BEAM_LOG_NOTICE);
	code = opts->follow ? run_follow(opts, &from) : run_relay(opts, &from);
	explicit_bzero(from.password, sizeof(from.password));
	return code;
}

const struct beam_command beam_relay_command = {
    .name = "relay",
    .synopsis = "--from ADDR --listen ADDR",
    .summary = "Serve a primary's images to other pulls, or keep them as files",
    .text =
	"With --listen it pulls each new image of the primary and serves it to other pulls. The\n"
	"primary directs them here by itself, so that it need not send an image more often than\n"
	"rdbeam.fanout says. Segments are served while others are still on their way. Pulls check\n"
	"the primary's signature on each segment, so they need not trust a relay. It holds the\n"
	"newest image in memory, and older ones as long as they are read, three at most: then it\n"
	"waits for their readers before it takes another. It ends on SIGTERM.\n\n"
	"With --follow it writes each new image to a file, checked and on disk before it gets its\n"
	"name, and keeps the newest: a backup on another host, which costs the primary only the\n"
	"CPU for sending it.\n\n"
	"It waits for images and does not request any: BGSAVE, save points and pulls make them.\n"
	"For each it prints a line; with --json an object with the members generation, keys,\n"
	"image_bytes, total_ms, file, error.",
    .examples = "rdbeam relay --from primary:6379 --listen 10.0.0.7:7000\n"
		"rdbeam relay --from primary:6379 --follow --dir /backup --keep 14",
    .options = relay_options,
    .noptions = BEAM_NOPTIONS(relay_options),
    .opts_bytes = sizeof(struct relay_opts),
    .defaults = &relay_defaults,
    .run = relay_run,
};
