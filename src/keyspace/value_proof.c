/* SPDX-License-Identifier: BSD-3-Clause */
#include "value_proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_names.h"
#include "rdb.h"

RedisModuleString *beam_open_key_string(const struct beam_open_key *key)
{
	if (!key->string)
		return RedisModule_CreateString(NULL, key->name, key->name_bytes);
	RedisModule_RetainString(NULL, key->string);
	return key->string;
}

#define NUMBER_BYTES 24 /* room for the digits of a number and a terminator */

/* The bytes of a string; a number is printed to `room`. */
static const char *text_of(const struct beam_value *value, char room[NUMBER_BYTES],
			   size_t *len_bytes)
{
	*len_bytes = value->len_bytes;
	if (value->kind != BEAM_VALUE_INT)
		return value->bytes;
	*len_bytes = (size_t)snprintf(room, NUMBER_BYTES, "%lld", (long long)value->number);
	return room;
}

static bool same_string(RedisModuleCallReply *reply, const struct beam_value *value)
{
	char room[NUMBER_BYTES];
	size_t len, want_len;
	const char *got = RedisModule_CallReplyStringPtr(reply, &len);
	const char *want = text_of(value, room, &want_len);

	return len == want_len && memcmp(got, want, len) == 0;
}

/* Compares with a string as in an RDB record, where 32-bit numbers have a form of their own. */
static bool same_saved_string(const uint8_t *bytes, size_t len_bytes,
			      const struct beam_value *value)
{
	char room[NUMBER_BYTES], digits[NUMBER_BYTES];
	uint8_t number[NUMBER_BYTES];
	size_t pos = 0, want_len;
	const char *want = text_of(value, room, &want_len);
	uint64_t len;
	int enc;

	if (beam_rdb_get_len(bytes, len_bytes, &pos, &len, &enc))
		return false;
	if (enc < 0)
		return len == want_len && len_bytes - pos == len &&
		       memcmp(bytes + pos, want, want_len) == 0;
	if (want_len >= sizeof(digits))
		return false;
	memcpy(digits, want, want_len);
	digits[want_len] = '\0';
	len = beam_rdb_put_int(number, strtoll(digits, NULL, 10));
	return len && len == len_bytes && memcmp(number, bytes, len) == 0;
}

/* Compares with type and value as in a record. */
static bool same_saved_block(const uint8_t *got, size_t len, const struct beam_value *value)
{
	uint8_t encoded[BEAM_RDB_LEN_MAX_BYTES];
	size_t len_bytes = beam_rdb_put_len(encoded, value->len_bytes);
	size_t head_bytes = 1 + value->prefix_bytes + len_bytes;

	return len == head_bytes + value->len_bytes && got[0] == value->rdb_type &&
	       memcmp(got + 1, value->prefix, value->prefix_bytes) == 0 &&
	       memcmp(got + 1 + value->prefix_bytes, encoded, len_bytes) == 0 &&
	       memcmp(got + head_bytes, value->bytes, value->len_bytes) == 0;
}

static bool same_dump(RedisModuleCallReply *reply, const struct beam_value *value)
{
	size_t len;
	const char *got = RedisModule_CallReplyStringPtr(reply, &len);

	return len > BEAM_DUMP_FOOTER_BYTES &&
	       same_saved_block((const uint8_t *)got, len - BEAM_DUMP_FOOTER_BYTES, value);
}

bool beam_value_proved(RedisModuleCtx *ctx, const struct beam_open_key *key,
		       const struct beam_value *value)
{
	bool is_string = value->kind != BEAM_VALUE_BLOB, same = false;

	if (RedisModule_KeyType(key->handle) == REDIS_KEY_STRING &&
	    RedisModule_ValueLength(key->handle) > BEAM_EMBSTR_MAX_BYTES) {
		size_t len;
		const char *bytes = RedisModule_StringDMA(key->handle, &len, REDISMODULE_READ);

		return value->kind == BEAM_VALUE_BYTES && bytes == value->bytes &&
		       len == value->len_bytes;
	}
	RedisModuleString *name = beam_open_key_string(key);
	RedisModuleCallReply *reply =
	    RedisModule_Call(ctx, beam_command(is_string ? "GET" : "DUMP"), "s", name);

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_STRING)
		same = is_string ? same_string(reply, value) : same_dump(reply, value);
	if (reply)
		RedisModule_FreeCallReply(reply);
	RedisModule_FreeString(NULL, name);
	return same;
}

bool beam_value_proved_by(struct beam_serializer *serializer, const void *object,
			  const struct beam_value *value)
{
	const uint8_t *bytes;
	size_t len;

	if (!object || !beam_serializer_says(serializer, object, &bytes, &len))
		return false;
	if (value->kind == BEAM_VALUE_BLOB)
		return same_saved_block(bytes, len, value);
	return bytes[0] == BEAM_RDB_STRING && same_saved_string(bytes + 1, len - 1, value);
}
