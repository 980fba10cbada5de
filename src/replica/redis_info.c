/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads fields of INFO and of map replies.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdbeam/error.h"
#include "redis.h"
#include "text.h"

int beam_redis_info_field(const char *info, const char *field, char *out, size_t cap)
{
	size_t field_len = strlen(field);

	out[0] = '\0';
	for (const char *line = info; line && *line; line = strchr(line, '\n')) {
		size_t len;

		if (*line == '\n')
			line++;
		if (strncmp(line, field, field_len) != 0 || line[field_len] != ':')
			continue;
		line += field_len + 1;
		len = strcspn(line, "\r\n");
		if (len >= cap)
			return -ERANGE;
		memcpy(out, line, len);
		out[len] = '\0';
		return 0;
	}
	return -ENOENT;
}

int beam_redis_config(struct beam_redis *redis, const char *name, char *out, size_t cap)
{
	redisReply *reply = NULL;

	out[0] = '\0';
	int code = beam_redis_command(redis, &reply, "CONFIG GET %s", name);

	if (code)
		return code;
	const redisReply *value = beam_reply_field(reply, name);

	code = value && value->type == REDIS_REPLY_STRING && (size_t)value->len < cap
		   ? 0
		   : BEAM_E_PROTO;
	if (!code)
		memcpy(out, value->str, (size_t)value->len + 1);
	freeReplyObject(reply);
	return code;
}

int beam_redis_info(struct beam_redis *redis, const char *section, const char *field, char *out,
		    size_t cap)
{
	redisReply *reply;
	int code;

	out[0] = '\0';
	code = beam_redis_command(redis, &reply, "INFO %s", section);
	if (code != 0)
		return code;
	if (reply->type == REDIS_REPLY_STRING)
		code = beam_redis_info_field(reply->str, field, out, cap);
	else
		code = BEAM_E_PROTO;
	freeReplyObject(reply);
	return code;
}

int beam_redis_info_int(struct beam_redis *redis, const char *section, const char *field,
			int64_t *out)
{
	char text[32];
	char *end;
	long long value;
	int code = beam_redis_info(redis, section, field, text, sizeof(text));

	if (code == -ERANGE)
		return -ENOENT;
	if (code != 0)
		return code;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end)
		return -ENOENT;
	*out = value;
	return 0;
}

const redisReply *beam_reply_field(const redisReply *map, const char *key)
{
	size_t key_len = strlen(key);

	if (!map || map->type != REDIS_REPLY_ARRAY)
		return NULL;
	for (size_t i = 0; i + 1 < map->elements; i += 2) {
		const redisReply *name = map->element[i];

		if ((name->type == REDIS_REPLY_STRING || name->type == REDIS_REPLY_STATUS) &&
		    (size_t)name->len == key_len && memcmp(name->str, key, key_len) == 0)
			return map->element[i + 1];
	}
	return NULL;
}

int beam_reply_hex(const redisReply *map, const char *field, uint8_t *out, size_t len_bytes)
{
	const redisReply *value = beam_reply_field(map, field);

	if (!value || value->type != REDIS_REPLY_STRING ||
	    beam_from_hex(value->str, out, len_bytes))
		return BEAM_E_PROTO;
	return 0;
}
