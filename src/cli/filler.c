/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The pipeline of rdbeam fill, and the commands that make a key of each type.
 */
#include "filler.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdbeam/error.h"

#define ELEMENTS_MAX 128 /* in one command */
/* Most bytes of values in one command with more than one element. */
#define COMMAND_BYTES (1u << 20)
/* Replies are read after this many bytes, whatever `pipeline` says. */
#define PIPELINE_BYTES (8u << 20)
#define KEY_CAP        (BEAM_FILLER_PREFIX_MAX + 24)

/* ---- the pipeline ------------------------------------------------------------------------- */

struct command {
	const char *argv[ELEMENTS_MAX * 2 + 8];
	size_t len[ELEMENTS_MAX * 2 + 8];
	int argc;
};

static void add_arg(struct command *command, const char *text, size_t len)
{
	command->argv[command->argc] = text;
	command->len[command->argc++] = len;
}

static void add_word(struct command *command, const char *word)
{
	add_arg(command, word, strlen(word));
}

/* Reads replies until at most `left` are outstanding. The first error reply ends the fill. */
static int read_replies(struct beam_filler *filler, int64_t left)
{
	redisContext *context = beam_redis_context(filler->redis);

	while (filler->waiting > left) {
		redisReply *reply;
		bool failed, denied;

		if (redisGetReply(context, (void **)&reply) != REDIS_OK) {
			snprintf(filler->error, sizeof(filler->error),
				 "connection lost: %s (%s): look at the server's log",
				 beam_redis_name(filler->redis), context->errstr);
			return BEAM_E_GONE;
		}
		filler->waiting--;
		failed = reply->type == REDIS_REPLY_ERROR;
		denied = failed && strncmp(reply->str, "NOPERM", strlen("NOPERM")) == 0;
		if (failed)
			snprintf(filler->error, sizeof(filler->error), "%s: %s (%s): %s",
				 denied ? "access refused" : "server refused",
				 beam_redis_name(filler->redis), reply->str,
				 denied ? "ask for the right" : "correct that at the server");
		freeReplyObject(reply);
		if (failed)
			return denied ? BEAM_E_DENIED : BEAM_E_SERVER;
	}
	return 0;
}

static int send_command(struct beam_filler *filler, struct command *command)
{
	int64_t window = filler->what->pipeline;

	if (redisAppendCommandArgv(beam_redis_context(filler->redis), command->argc, command->argv,
				   command->len) != REDIS_OK) {
		snprintf(filler->error, sizeof(filler->error),
			 "out of memory: pipeline: lower --pipeline or --value-size");
		return -ENOMEM;
	}
	for (int i = 0; i < command->argc; i++)
		filler->unread_bytes += command->len[i];
	filler->waiting++;
	if (filler->unread_bytes < PIPELINE_BYTES && filler->waiting < 2 * window)
		return 0;
	filler->unread_bytes = 0;
	return read_replies(filler, filler->waiting / 2);
}

int beam_filler_drain(struct beam_filler *filler)
{
	filler->unread_bytes = 0;
	return read_replies(filler, 0);
}

int beam_filler_select(struct beam_filler *filler, int64_t db)
{
	struct command command = {.argc = 0};
	char number[24];

	snprintf(number, sizeof(number), "%" PRId64, db);
	add_word(&command, "SELECT");
	add_word(&command, number);
	return send_command(filler, &command);
}

/* ---- types -------------------------------------------------------------------------------- */

enum label {
	LABEL_NONE,
	LABEL_FIELD, /* a field's name */
	LABEL_SCORE,
	LABEL_ENTRY, /* a stream entry's id, and the field "value" */
};

static const struct type {
	const char *name;
	const char *word; /* the command that makes or extends it */
	enum label label; /* what precedes each element */
	bool unique;      /* equal elements would be stored once */
} types[] = {
    {"string", "SET", LABEL_NONE, false}, {"hash", "HSET", LABEL_FIELD, false},
    {"list", "RPUSH", LABEL_NONE, false}, {"set", "SADD", LABEL_NONE, true},
    {"zset", "ZADD", LABEL_SCORE, true},  {"stream", "XADD", LABEL_ENTRY, false},
    {"int", "SET", LABEL_NONE, false},
};

#define TYPE_STRING 0
#define TYPE_INT    6
#define INT_END     1000000000u
#define INT_DIGITS  24

int beam_filler_type(const char *text, size_t len)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strlen(types[i].name) == len && memcmp(types[i].name, text, len) == 0)
			return (int)i;
	}
	return -1;
}

/* How many elements go into one command, limited by the arrays and the memory. */
static int64_t elements_at_once(const struct beam_filling *what, const struct type *type)
{
	uint64_t by_bytes = COMMAND_BYTES / what->value_size;

	if (type->label == LABEL_ENTRY || by_bytes < 1)
		return 1;
	return by_bytes < ELEMENTS_MAX ? (int64_t)by_bytes : ELEMENTS_MAX;
}

/* ---- keys --------------------------------------------------------------------------------- */

static int send_string(struct beam_filler *filler, const char *key, size_t size)
{
	const struct beam_filling *what = filler->what;
	struct command command = {.argc = 0};
	char ttl[24];

	add_word(&command, "SET");
	add_word(&command, key);
	add_arg(&command, filler->value_bytes, size);
	if (what->ttl_s) {
		snprintf(ttl, sizeof(ttl), "%" PRId64, what->ttl_s);
		add_word(&command, "EX");
		add_word(&command, ttl);
	}
	filler->bytes += size;
	return send_command(filler, &command);
}

/* Sends a number of up to nine digits, which servers store as an integer. */
static int send_int(struct beam_filler *filler, const char *key)
{
	uint64_t number = beam_values_number(&filler->values) % INT_END;
	int len = snprintf(filler->value_bytes, INT_DIGITS, "%" PRIu64, number);

	return send_string(filler, key, (size_t)len);
}

/* Sends elements first .. first + n - 1 of one key in one command. */
static int send_elements(struct beam_filler *filler, const struct type *type, const char *key,
			 int64_t first, int64_t n)
{
	const size_t size = filler->what->value_size;
	const char *label_prefix = type->label == LABEL_FIELD ? "field:" : "";
	char labels[ELEMENTS_MAX][32];
	struct command command = {.argc = 0};
	char *value = filler->value_bytes;

	add_word(&command, type->word);
	add_word(&command, key);
	for (int64_t i = 0; i < n; i++, value += size) {
		beam_values_next(&filler->values, value, size);
		if (type->unique)
			beam_values_mark(value, size, (uint64_t)(first + i));
		if (type->label != LABEL_NONE) {
			/* Count from 1: a stream cannot have an entry 0. */
			snprintf(labels[i], sizeof(labels[i]), "%s%" PRId64, label_prefix,
				 first + i + 1);
			add_word(&command, labels[i]);
			filler->bytes += strlen(labels[i]);
		}
		if (type->label == LABEL_ENTRY)
			add_word(&command, "value");
		add_arg(&command, value, size);
		filler->bytes += size;
	}
	return send_command(filler, &command);
}

static int send_collection(struct beam_filler *filler, const struct type *type, const char *key)
{
	const struct beam_filling *what = filler->what;
	const int64_t at_once = elements_at_once(what, type);
	struct command command = {.argc = 0};
	char ttl[24];
	int code = 0;

	if (what->clear_first) {
		add_word(&command, "UNLINK");
		add_word(&command, key);
		code = send_command(filler, &command);
	}
	for (int64_t first = 0; code == 0 && first < what->fields; first += at_once) {
		int64_t left = what->fields - first;

		code = send_elements(filler, type, key, first, left < at_once ? left : at_once);
	}
	if (code == 0 && what->ttl_s) {
		snprintf(ttl, sizeof(ttl), "%" PRId64, what->ttl_s);
		command.argc = 0;
		add_word(&command, "EXPIRE");
		add_word(&command, key);
		add_word(&command, ttl);
		code = send_command(filler, &command);
	}
	return code;
}

int beam_filler_key(struct beam_filler *filler, int64_t number)
{
	const struct beam_filling *what = filler->what;
	int type = what->types[number % what->ntypes];
	char key[KEY_CAP];

	filler->bytes += (uint64_t)snprintf(key, sizeof(key), "%s%" PRId64, what->prefix, number);
	if (type == TYPE_INT)
		return send_int(filler, key);
	if (type == TYPE_STRING) {
		beam_values_next(&filler->values, filler->value_bytes, what->value_size);
		return send_string(filler, key, what->value_size);
	}
	return send_collection(filler, &types[type], key);
}

/* ---- life --------------------------------------------------------------------------------- */

int beam_filler_open(const struct beam_filling *what, struct beam_redis *redis, uint64_t seed,
		     bool raw, struct beam_filler *filler)
{
	size_t room = what->value_size;

	if (room < COMMAND_BYTES)
		room = COMMAND_BYTES;
	memset(filler, 0, sizeof(*filler));
	filler->value_bytes = malloc(room);
	if (!filler->value_bytes)
		return -ENOMEM;
	filler->what = what;
	filler->redis = redis;
	beam_values_init(&filler->values, seed, raw);
	return 0;
}

void beam_filler_close(struct beam_filler *filler)
{
	free(filler->value_bytes);
	filler->value_bytes = NULL;
}
