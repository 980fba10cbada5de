/* SPDX-License-Identifier: BSD-3-Clause */
#include "value_proof.h"

#include <stdio.h>
#include <string.h>

#include "rdb.h"

RedisModuleString *beam_open_key_string(const struct beam_open_key *key)
{
	if (!key->string)
		return RedisModule_CreateString(NULL, key->name, key->name_bytes);
	RedisModule_RetainString(NULL, key->string);
	return key->string;
}

static bool same_string(RedisModuleCallReply *reply, const struct beam_value *value)
{
	char text[24];
	size_t len, want_len = value->len_bytes;
	const char *got = RedisModule_CallReplyStringPtr(reply, &len), *want = value->bytes;

	if (value->kind == BEAM_VALUE_INT) {
		want_len = (size_t)snprintf(text, sizeof(text), "%lld", (long long)value->number);
		want = text;
	}
	return len == want_len && memcmp(got, want, len) == 0;
}

static bool same_dump(RedisModuleCallReply *reply, const struct beam_value *value)
{
	uint8_t encoded[BEAM_RDB_LEN_MAX_BYTES];
	size_t len, len_bytes = beam_rdb_put_len(encoded, value->len_bytes);
	size_t head_bytes = 1 + value->prefix_bytes + len_bytes;
	const char *got = RedisModule_CallReplyStringPtr(reply, &len);

	return len == head_bytes + value->len_bytes + BEAM_DUMP_FOOTER_BYTES &&
	       (uint8_t)got[0] == value->rdb_type &&
	       memcmp(got + 1, value->prefix, value->prefix_bytes) == 0 &&
	       memcmp(got + 1 + value->prefix_bytes, encoded, len_bytes) == 0 &&
	       memcmp(got + head_bytes, value->bytes, value->len_bytes) == 0;
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
	RedisModuleCallReply *reply = RedisModule_Call(ctx, is_string ? "GET" : "DUMP", "s", name);

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_STRING)
		same = is_string ? same_string(reply, value) : same_dump(reply, value);
	if (reply)
		RedisModule_FreeCallReply(reply);
	RedisModule_FreeString(NULL, name);
	return same;
}
