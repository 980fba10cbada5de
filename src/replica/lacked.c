/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Finds modules of the source that the target lacks, and data of modules in an image.
 */
#include "lacked.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "image_reader.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "tell.h"

#define LINE         "\nmodule:name="
#define OWN          "rdbeam" /* has no values, and most targets lack it */
#define COMMANDS_MAX 256      /* of a module; with more of them it is taken for one that writes */

/* A type's ID (source: moduleTypeEncodeId in module.c of Redis 7.0.15). */
#define TYPE_NAME_LEN     9
#define TYPE_VERSION_BITS 10

static redisReply *info_of(struct beam_redis *redis)
{
	redisReply *reply = NULL;

	if (beam_redis_command(redis, &reply, "INFO modules"))
		return NULL;
	if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS)
		return reply;
	freeReplyObject(reply);
	return NULL;
}

static bool has_module(const char *info, const char *name)
{
	char line[sizeof(LINE) + BEAM_MODULE_NAME_BYTES + 1];

	snprintf(line, sizeof(line), LINE "%s,", name);
	return strstr(info, line);
}

/* An element of COMMAND INFO: name, number of arguments, flags, ... */
static bool is_write(const redisReply *command)
{
	if (command->type != REDIS_REPLY_ARRAY || command->elements < 3)
		return false;
	const redisReply *flags = command->element[2];

	for (size_t i = 0; i < flags->elements; i++)
		if (flags->element[i]->str && strcasecmp(flags->element[i]->str, "write") == 0)
			return true;
	return false;
}

static bool any_writes(struct beam_redis *redis, const redisReply *names)
{
	const char *argv[2 + COMMANDS_MAX] = {"COMMAND", "INFO"};
	size_t lens[2 + COMMANDS_MAX] = {7, 4};
	redisReply *reply = NULL;
	bool found = false;

	for (size_t i = 0; i < names->elements; i++) {
		if (!names->element[i]->str)
			return true;
		argv[2 + i] = names->element[i]->str;
		lens[2 + i] = names->element[i]->len;
	}
	if (beam_redis_argv(redis, &reply, 2 + (int)names->elements, argv, lens))
		return true;
	for (size_t i = 0; i < reply->elements && !found; i++)
		found = is_write(reply->element[i]);
	freeReplyObject(reply);
	return found;
}

/* A module with values of its own has a command that makes them. True if that cannot be told. */
static bool writes(struct beam_redis *redis, const char *name)
{
	redisReply *reply = NULL;
	bool found;

	if (beam_redis_command(redis, &reply, "COMMAND LIST FILTERBY MODULE %s", name))
		return true;
	found = reply->type != REDIS_REPLY_ARRAY || reply->elements > COMMANDS_MAX ||
		(reply->elements && any_writes(redis, reply));
	freeReplyObject(reply);
	return found;
}

void beam_lacked_module(struct beam_redis *from, struct beam_redis *to,
			char name[BEAM_MODULE_NAME_BYTES])
{
	redisReply *source = info_of(from), *target = source ? info_of(to) : NULL;
	const char *at = target ? strstr(source->str, LINE) : NULL;
	bool found = false;

	for (; at && !found; at = strstr(at, LINE)) {
		at += strlen(LINE);
		snprintf(name, BEAM_MODULE_NAME_BYTES, "%.*s", (int)strcspn(at, ",\r\n"), at);
		found =
		    strcmp(name, OWN) != 0 && !has_module(target->str, name) && writes(from, name);
	}
	if (!found)
		name[0] = '\0';
	if (source)
		freeReplyObject(source);
	if (target)
		freeReplyObject(target);
}

/* The name is in the upper 54 bits of a type's ID. */
static void type_name(uint64_t id, char name[TYPE_NAME_LEN + 1])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789-_";

	name[TYPE_NAME_LEN] = '\0';
	id >>= TYPE_VERSION_BITS;
	for (int i = TYPE_NAME_LEN; i-- > 0; id >>= 6)
		name[i] = letters[id & 63];
}

struct look {
	const char *info; /* of the target */
	uint64_t keys;
};

/* A type and its module may have one name, as those of vector sets do. */
static void look_at_key(void *arg, const struct beam_item *item)
{
	struct look *look = arg;
	char name[TYPE_NAME_LEN + 1];
	size_t pos = 0;
	uint64_t id;
	int enc;

	if (beam_verify_type(item->type) != BEAM_VERIFY_MODULE)
		return;
	if (!beam_rdb_get_len(item->value, item->value_bytes, &pos, &id, &enc)) {
		type_name(id, name);
		if (has_module(look->info, name))
			return;
	}
	look->keys++;
}

int beam_lacked_check(const struct beam_stage *stage, struct beam_redis *to, const char *name,
		      char *error)
{
	struct beam_verify_report report;
	redisReply *info = info_of(to);
	struct look look = {.info = info ? info->str : ""};
	int rc = beam_verify_keys(beam_stage_bytes(stage), beam_stage_image_bytes(stage), NULL,
				  look_at_key, &look, &report);

	if (info)
		freeReplyObject(info);
	if (rc)
		return beam_tell(error, rc, "the image is damaged: %s", beam_strerror(rc));
	if (!look.keys && !report.module_aux)
		return 0;
	return beam_tell(error, BEAM_E_UNSUPPORTED,
			 "%s lacks the module %s, and the image has data of modules (keys: "
			 "%" PRIu64 "): a server exits when it loads data of a module that it "
			 "lacks (load the module there, or delete its keys on the primary)",
			 beam_redis_name(to), name, look.keys);
}
