/* SPDX-License-Identifier: BSD-3-Clause */
#include "object.h"

#include <string.h>

#include "redis_api.h"
#include "sds_length.h"

#define FLAGS_AT         4
#define FLAG_EXPIRE      (1u << 0)
#define FLAG_KEY         (1u << 1)
#define FLAG_SHORT_VALUE (1u << 2) /* if there is no short form: a bit of the count */
#define POINTER_BYTES    8
#define EXPIRE_BYTES     8
#define VALUE_HEAD_BYTES 3 /* header of a string whose length fits in one byte */
#define PROBE            "short"

/* Redis 8.2: two flags in the low bits of the word that holds the reference count. */
#define KV_BEHIND_FLAG   (1u << 0)
#define KV_BEHIND_EXPIRE (1u << 1)
#define KV_BEHIND_ONE    4u
/* Redis 8.6: the reference count follows the type, then a flag, then a byte of metadata bits. */
#define KV_BEFORE_FLAG_AT 3
#define KV_BEFORE_FLAG    0x80u
#define KV_BEFORE_ONE     1u

bool beam_object_short_form(void)
{
	static int known = -1;

	if (known < 0) {
		RedisModuleString *probe = RedisModule_CreateString(NULL, PROBE, strlen(PROBE));
		size_t len;
		const char *bytes = RedisModule_StringPtrLen(probe, &len);
		uintptr_t data;

		memcpy(&data, (const char *)(const void *)probe + BEAM_OBJECT_HEAD_BYTES,
		       sizeof(data));
		known = data != (uintptr_t)bytes;
		RedisModule_FreeString(NULL, probe);
	}
	return known == 1;
}

static bool has_short_value(const unsigned char *object)
{
	return (object[FLAGS_AT] & FLAG_SHORT_VALUE) && beam_object_short_form();
}

static const unsigned char *behind_words(const unsigned char *object)
{
	return object + BEAM_OBJECT_HEAD_BYTES + (has_short_value(object) ? 0 : POINTER_BYTES);
}

/* The key is preceded by one byte, which holds the size of the key's string header. */
static bool key_at(const unsigned char *at, const char **key)
{
	const unsigned char *bytes = at + 1 + at[0];

	if (at[0] == 0 || at[0] > BEAM_SDS_HEAD_MAX || beam_sds_head_bytes(bytes[-1]) != at[0])
		return false;
	*key = (const char *)bytes;
	return true;
}

bool beam_object_key(const unsigned char *object, const char **key, int64_t *expire_ms)
{
	const unsigned char *at = behind_words(object);

	*expire_ms = -1;
	if (object[FLAGS_AT] & FLAG_EXPIRE) {
		memcpy(expire_ms, at, EXPIRE_BYTES);
		at += EXPIRE_BYTES;
	}
	return (object[FLAGS_AT] & FLAG_KEY) && key_at(at, key);
}

static enum beam_kv_form form_of(const unsigned char *fresh)
{
	uint32_t front, back;

	memcpy(&front, fresh, sizeof(front));
	memcpy(&back, fresh + FLAGS_AT, sizeof(back));
	if (back == KV_BEHIND_ONE)
		return BEAM_KV_BEHIND;
	return front >> 8 == KV_BEFORE_ONE && !(back & 0xff) ? BEAM_KV_BEFORE : BEAM_KV_NONE;
}

enum beam_kv_form beam_object_kv_form(void)
{
	static int known = -1;

	if (known < 0) {
		RedisModuleString *probe = RedisModule_CreateString(NULL, PROBE, strlen(PROBE));

		known = form_of((const unsigned char *)(const void *)probe);
		RedisModule_FreeString(NULL, probe);
	}
	return (enum beam_kv_form)known;
}

bool beam_object_kv_key(enum beam_kv_form form, const unsigned char *object, const char **key)
{
	const unsigned char *at = object + BEAM_OBJECT_HEAD_BYTES + POINTER_BYTES;

	if (form == BEAM_KV_BEFORE)
		return (object[KV_BEFORE_FLAG_AT] & KV_BEFORE_FLAG) && key_at(at, key);
	if (form != BEAM_KV_BEHIND || !(object[FLAGS_AT] & KV_BEHIND_FLAG))
		return false;
	return key_at(object[FLAGS_AT] & KV_BEHIND_EXPIRE ? at + EXPIRE_BYTES : at, key);
}

const char *beam_object_short_value(const unsigned char *object)
{
	const unsigned char *at = behind_words(object);
	const char *key;
	int64_t expire_ms;
	size_t len;

	if (!has_short_value(object))
		return NULL;
	if (object[FLAGS_AT] & FLAG_KEY) {
		if (!beam_object_key(object, &key, &expire_ms) ||
		    !beam_sds_length((const unsigned char *)key, &len))
			return NULL;
		at = (const unsigned char *)key + len + 1;
	} else if (object[FLAGS_AT] & FLAG_EXPIRE) {
		at += EXPIRE_BYTES;
	}
	return (const char *)at + VALUE_HEAD_BYTES;
}
