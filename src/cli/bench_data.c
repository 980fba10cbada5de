/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The data sets as tables. Values are random text of 64 different characters: LZF cannot compress
 * it, like most data worth keeping in memory.
 */
#include "bench_data.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "filler.h"
#include "rdbeam/error.h"

#define SEED       1
#define DRAW_EVERY 256 /* keys */
#define PIPELINE   512
#define DAY_S      86400

static const struct beam_bench_part large[] = {
    {.types = "string", .prefix = "large:", .keys = 256, .value_size = 3660000},
};
static const struct beam_bench_part medium[] = {
    {.types = "string", .prefix = "medium:", .keys = 1000000, .value_size = 1024},
};
static const struct beam_bench_part hundred[] = {
    {.types = "string", .prefix = "hundred:", .keys = 5000000, .value_size = 100},
};
static const struct beam_bench_part little[] = {
    {.types = "string,int", .prefix = "little:", .keys = 5000000, .value_size = 20},
};
static const struct beam_bench_part hashes[] = {
    {.types = "hash", .prefix = "hash:", .keys = 1000000, .value_size = 10, .fields = 10},
};
static const struct beam_bench_part mixed[] = {
    {.types = "string", .prefix = "s:", .keys = 350000, .value_size = 1024, .dbs = 4},
    {.types = "string", .prefix = "t:", .keys = 500000, .value_size = 40, .ttl_s = DAY_S, .dbs = 4},
    {.types = "int", .prefix = "i:", .keys = 300000, .value_size = 9, .db = 4},
    {.types = "string", .prefix = "b:", .keys = 32, .value_size = 4 << 20, .db = 1},
    {.types = "hash,list,set,zset", .prefix = "c:", .keys = 400000, .value_size = 24, .fields = 10},
    {.types = "hash,list,set,zset",
     .prefix = "d:",
     .keys = 1200,
     .value_size = 64,
     .fields = 2000,
     .ttl_s = DAY_S,
     .db = 2,
     .dbs = 2},
    {.types = "stream",
     .prefix = "x:",
     .keys = 10000,
     .value_size = 64,
     .fields = 100,
     .db = 3,
     .groups = true},
};

#define PARTS(table) .parts = table, .nparts = sizeof(table) / sizeof((table)[0])

static const struct beam_bench_data sets[] = {
    {'S', "256 x 3.66 MB", PARTS(large), BEAM_TOUCH_RANGE, 1},
    {'M', "1M x 1 KB", PARTS(medium), BEAM_TOUCH_RANGE, 1},
    {'T', "5M x 100 B", PARTS(hundred), BEAM_TOUCH_RANGE, 1},
    {'E', "5M short values", PARTS(little), BEAM_TOUCH_VALUE, 2},
    {'H', "1M hashes", PARTS(hashes), BEAM_TOUCH_FIELD, 1},
    {'X', "all types mixed", PARTS(mixed), BEAM_TOUCH_RANGE, 1},
};

static const struct beam_bench_data *find(char letter)
{
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		if (sets[i].letter == letter)
			return &sets[i];
	}
	return NULL;
}

int beam_bench_data_parse(const char *text, const struct beam_bench_data **list, size_t *n,
			  char *bad, size_t cap)
{
	*n = 0;
	while (true) {
		size_t len = strcspn(text, ",");
		const struct beam_bench_data *data = len == 1 ? find(text[0]) : NULL;
		bool again = false;

		for (size_t i = 0; i < *n; i++)
			again = again || list[i] == data;
		if (!data || again) {
			snprintf(bad, cap, "%.*s%s", (int)len, text, again ? " a second time" : "");
			return -EINVAL;
		}
		list[(*n)++] = data;
		if (text[len] == '\0')
			return 0;
		text += len + 1;
	}
}

int64_t beam_bench_part_keys(const struct beam_bench_part *part, int64_t scale)
{
	int64_t keys = (int64_t)((__int128)part->keys * scale / 100);

	return keys > 0 ? keys : 1;
}

static int64_t databases(const struct beam_bench_part *part)
{
	return part->dbs ? part->dbs : 1;
}

/* Neighbouring keys share a database, so SELECT is sent only once for each. */
static int64_t database_of(const struct beam_bench_part *part, int64_t key, int64_t keys)
{
	return part->db + (int64_t)((__int128)key * databases(part) / keys);
}

/* Reads the replies to the two commands for each stream; none of them may fail. */
static int read_group_replies(struct beam_redis *redis, int64_t n, char *error)
{
	redisContext *context = beam_redis_context(redis);

	for (int64_t i = 0; i < n; i++) {
		redisReply *reply;
		bool failed;

		if (redisGetReply(context, (void **)&reply) != REDIS_OK) {
			snprintf(error, BEAM_REDIS_ERROR_BYTES,
				 "connection lost: %s (%s): see its log", beam_redis_name(redis),
				 context->errstr);
			return BEAM_E_GONE;
		}
		failed = reply->type == REDIS_REPLY_ERROR;
		if (failed)
			snprintf(error, BEAM_REDIS_ERROR_BYTES,
				 "server refused: %s (%.300s): see there", beam_redis_name(redis),
				 reply->str);
		freeReplyObject(reply);
		if (failed)
			return BEAM_E_SERVER;
	}
	return 0;
}

/* Makes a consumer group for each stream and reads its first entries, which then wait for XACK. All
 * streams are in the selected database. */
static int make_groups(const struct beam_bench_part *part, int64_t keys, struct beam_redis *redis,
		       char *error)
{
	redisContext *context = beam_redis_context(redis);
	int64_t unread = 0;
	int code = 0;

	for (long long i = 0; i < keys && code == 0; i++) {
		if (redisAppendCommand(context, "XGROUP CREATE %s%lld readers 0", part->prefix,
				       i) ||
		    redisAppendCommand(context,
				       "XREADGROUP GROUP readers one COUNT 10 STREAMS %s%lld >",
				       part->prefix, i)) {
			snprintf(error, BEAM_REDIS_ERROR_BYTES,
				 "out of memory: pipeline: lower --scale");
			return -ENOMEM;
		}
		unread += 2;
		if (unread >= PIPELINE || i + 1 == keys) {
			code = read_group_replies(redis, unread, error);
			unread = 0;
		}
	}
	return code;
}

static void set_types(const char *list, struct beam_filling *what)
{
	for (size_t len = strcspn(list, ",");; len = strcspn(list, ",")) {
		what->types[what->ntypes++] = beam_filler_type(list, len);
		if (list[len] == '\0')
			return;
		list += len + 1;
	}
}

static int send_keys(struct beam_filler *filler, const struct beam_bench_part *part, int64_t keys,
		     struct beam_progress *progress, const char *stage)
{
	int64_t db = -1;
	int code = 0;

	for (int64_t i = 0; i < keys && code == 0; i++) {
		int64_t want = database_of(part, i, keys);

		if (want != db) {
			db = want;
			code = beam_filler_select(filler, db);
		}
		if (code == 0)
			code = beam_filler_key(filler, i);
		if (i % DRAW_EVERY == 0)
			beam_progress_update(progress, stage, BEAM_PROGRESS_KEYS, (uint64_t)i,
					     (uint64_t)keys, NULL);
	}
	return code ? code : beam_filler_drain(filler);
}

static int fill_part(const struct beam_bench_part *part, int64_t scale, struct beam_redis *redis,
		     struct beam_progress *progress, const char *stage, char *error)
{
	const int64_t keys = beam_bench_part_keys(part, scale);
	struct beam_filling what = {.value_size = part->value_size,
				    .ttl_s = part->ttl_s,
				    .prefix = part->prefix,
				    .fields = part->fields,
				    .pipeline = PIPELINE};
	struct beam_filler filler;
	int code;

	set_types(part->types, &what);
	code = beam_filler_open(&what, redis, SEED, false, &filler);
	if (code) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "out of memory: fill: free some");
		return code;
	}
	code = send_keys(&filler, part, keys, progress, stage);
	if (code)
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", filler.error);
	beam_filler_close(&filler);
	if (code == 0 && part->groups)
		code = make_groups(part, keys, redis, error);
	return code;
}

int beam_bench_data_fill(const struct beam_bench_data *data, int64_t scale,
			 struct beam_redis *redis, struct beam_progress *progress, char *error)
{
	int code = 0;

	for (size_t i = 0; i < data->nparts && code == 0; i++) {
		char stage[24];

		snprintf(stage, sizeof(stage), "fill %c.%zu", data->letter, i + 1);
		code = fill_part(&data->parts[i], scale, redis, progress, stage, error);
	}
	return code;
}
