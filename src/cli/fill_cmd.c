/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam fill: puts a data set of a chosen shape into a server.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "command.h"
#include "connect.h"
#include "filler.h"
#include "progress.h"
#include "rdbeam/error.h"
#include "report.h"
#include "sockets.h"

#define VALUE_MAX  (512ll << 20) /* proto-max-bulk-len */
#define KEYS_MAX   (1ll << 40)
#define DRAW_EVERY 256 /* keys */

struct fill_opts {
	struct beam_common common;
	struct beam_connect connect;
	int64_t keys;
	uint64_t value_size;
	const char *types;
	bool random;
	int64_t seed;
	int64_t db, dbs;
	int64_t ttl;
	const char *prefix;
	int64_t fields;
	int64_t pipeline;
};

static const struct beam_option fill_options[] = {
    {.name = "--keys",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct fill_opts, keys),
     .value = "N",
     .min = 1,
     .max = KEYS_MAX,
     .help = "Number of keys. Default 100000."},
    {.name = "--value-size",
     .kind = BEAM_OPT_BYTES,
     .offset = offsetof(struct fill_opts, value_size),
     .value = "BYTES",
     .min = 1,
     .max = VALUE_MAX,
     .help = "Bytes of a string, or of each element of a collection. Default 1kb."},
    {.name = "--types",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct fill_opts, types),
     .value = "LIST",
     .help = "Types that keys take in turn, separated by commas: string, hash, list, set, zset, "
	     "stream, int. Default string."},
    {.name = "--random",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct fill_opts, random),
     .help = "Raw random bytes, different each time. Without it: text derived from --seed."},
    {.name = "--seed",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct fill_opts, seed),
     .value = "N",
     .help = "Seed of the values. Default 1."},
    {.name = "--db",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct fill_opts, db),
     .value = "N",
     .min = 0,
     .max = INT32_MAX,
     .help = "Database; with --dbs, the first one. Default 0."},
    {.name = "--dbs",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct fill_opts, dbs),
     .value = "N",
     .min = 1,
     .max = INT32_MAX,
     .help = "Spread the keys over N databases. Default 1."},
    {.name = "--ttl",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct fill_opts, ttl),
     .value = "SECONDS",
     .min = 0,
     .max = 1000000000,
     .help = "Let every key expire after this. Default 0: never."},
    {.name = "--prefix",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct fill_opts, prefix),
     .value = "TEXT",
     .help = "Prefix of key names. Default key:."},
    {.name = "--fields",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct fill_opts, fields),
     .value = "N",
     .min = 1,
     .max = 1ll << 32,
     .help = "Elements of each collection. Default 10."},
    {.name = "--pipeline",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct fill_opts, pipeline),
     .value = "N",
     .min = 1,
     .max = 100000,
     .help = "Commands sent before their replies are read. Default 512."},
    BEAM_CONNECT_OPTIONS(struct fill_opts),
    BEAM_COMMON_OPTIONS(struct fill_opts),
};

static const struct fill_opts fill_defaults = {
    .connect = BEAM_CONNECT_DEFAULTS,
    .keys = 100000,
    .value_size = 1024,
    .types = "string",
    .seed = 1,
    .dbs = 1,
    .prefix = "key:",
    .fields = 10,
    .pipeline = 512,
};

/* Parses "string,hash,..." into the filling. Returns 0, or BEAM_EXIT_USAGE with the line
 * written. */
static int parse_types(const struct fill_opts *opts, struct beam_filling *what)
{
	const char *text = opts->types;

	while (true) {
		size_t len = strcspn(text, ",");
		int type = beam_filler_type(text, len);

		if (type < 0)
			return beam_fail_usage(&opts->common,
					       "--types: %.*s: give string, hash, list, set, zset, "
					       "stream, int, separated by commas",
					       (int)len, text);
		if (what->ntypes == BEAM_FILLER_TYPES_MAX)
			return beam_fail_usage(&opts->common, "--types: %s: give at most %d",
					       opts->types, BEAM_FILLER_TYPES_MAX);
		what->types[what->ntypes++] = type;
		if (text[len] == '\0')
			return 0;
		text += len + 1;
	}
}

/* True if the server has a key in any database; also when INFO is not allowed. */
static bool has_keys(struct beam_redis *redis)
{
	redisReply *reply;
	bool found = true;

	if (beam_redis_command(redis, &reply, "INFO keyspace") != 0)
		return true;
	if (reply->type == REDIS_REPLY_STRING)
		found = strstr(reply->str, "keys=") != NULL;
	freeReplyObject(reply);
	return found;
}

static int send_all(struct beam_filler *filler, const struct fill_opts *opts)
{
	struct beam_progress progress;
	int64_t db = -1;
	int code = 0;

	beam_progress_init(&progress, opts->common.quiet);
	for (int64_t i = 0; i < opts->keys && code == 0; i++) {
		/* Neighbouring keys share a database, so SELECT is sent only once for each. */
		int64_t want = opts->db + (int64_t)((__int128)i * opts->dbs / opts->keys);

		if (want != db) {
			db = want;
			code = beam_filler_select(filler, db);
		}
		if (code == 0)
			code = beam_filler_key(filler, i);
		if (i % DRAW_EVERY == 0) {
			char note[BEAM_TEXT_CAP];

			beam_progress_update(&progress, "fill", BEAM_PROGRESS_KEYS, (uint64_t)i,
					     (uint64_t)opts->keys,
					     beam_text_bytes(note, filler->bytes));
		}
	}
	if (code == 0)
		code = beam_filler_drain(filler);
	if (code == 0)
		beam_progress_update(&progress, "fill", BEAM_PROGRESS_KEYS, (uint64_t)opts->keys,
				     (uint64_t)opts->keys, NULL);
	if (code == 0)
		beam_progress_end(&progress);
	else
		beam_progress_abandon(&progress);
	return code;
}

static void print_filled(const struct fill_opts *opts, uint64_t bytes, uint64_t ms)
{
	double seconds = (double)(ms ? ms : 1) / 1000;
	double rate = (double)opts->keys / seconds;
	char keys[BEAM_TEXT_CAP], size[BEAM_TEXT_CAP], time[BEAM_TEXT_CAP], speed[BEAM_TEXT_CAP];

	if (opts->common.json) {
		cJSON *object = cJSON_CreateObject();

		beam_json_u64(object, "keys", (uint64_t)opts->keys);
		beam_json_u64(object, "bytes", bytes);
		beam_json_seconds(object, "seconds", ms);
		beam_json_u64(object, "keys_per_s", (uint64_t)rate);
		beam_json_print(object);
		return;
	}
	printf("filled %s, %s, in %s: %s keys/s\n",
	       beam_text_counted(keys, (uint64_t)opts->keys, "key"), beam_text_bytes(size, bytes),
	       beam_text_ms(time, ms), beam_text_count(speed, (uint64_t)rate));
}

static int fill_run(void *arg, int nargs, char **args)
{
	const struct fill_opts *opts = arg;
	struct beam_filling what = {.value_size = opts->value_size,
				    .ttl_s = opts->ttl,
				    .prefix = opts->prefix,
				    .fields = opts->fields,
				    .pipeline = opts->pipeline};
	struct beam_filler filler;
	struct beam_redis *redis;
	uint64_t seed = (uint64_t)opts->seed;
	uint64_t began;
	int code;

	(void)nargs;
	(void)args;
	if (strlen(opts->prefix) > BEAM_FILLER_PREFIX_MAX)
		return beam_fail_usage(&opts->common, "--prefix: too long: give at most %d bytes",
				       BEAM_FILLER_PREFIX_MAX);
	code = parse_types(opts, &what);
	if (code == 0)
		code = beam_connect_open(&opts->common, &opts->connect, &redis);
	if (code != 0)
		return code;
	what.clear_first = has_keys(redis);
	if (opts->random)
		beam_random(&seed, sizeof(seed));
	code = beam_filler_open(&what, redis, seed, opts->random, &filler);
	if (code != 0) {
		beam_redis_close(&redis);
		return beam_fail(&opts->common, code,
				 "out of memory: --value-size %" PRIu64 ": give less",
				 opts->value_size);
	}
	began = beam_now_ms();
	code = send_all(&filler, opts);
	if (code == 0)
		print_filled(opts, filler.bytes, beam_now_ms() - began);
	else
		code = beam_fail(&opts->common, code, "%s", filler.error);
	beam_filler_close(&filler);
	beam_redis_close(&redis);
	return code;
}

const struct beam_command beam_fill_command = {
    .name = "fill",
    .synopsis = "",
    .summary = "Fill a server with test data",
    .text =
	"Writes keys of the given number, type and size, named by --prefix and a number from 0.\n"
	"Existing keys of these names are replaced. The values are derived from --seed, so that\n"
	"two servers can be given the same data; with --random they are raw random bytes, which\n"
	"cannot be compressed.",
    .examples =
	"rdbeam fill --keys 1000000 --value-size 1kb\n"
	"rdbeam fill --keys 60000 --types string,hash,list,set,zset,stream --dbs 4 --random",
    .options = fill_options,
    .noptions = BEAM_NOPTIONS(fill_options),
    .opts_bytes = sizeof(struct fill_opts),
    .defaults = &fill_defaults,
    .run = fill_run,
};
