/* SPDX-License-Identifier: BSD-3-Clause */
#include "object.h"

#include <string.h>

#include "redis_api.h"
#include "sds_length.h"

#define FLAGS_AT         4
#define FLAG_EXPIRE      (1u << 0)
#define FLAG_KEY         (1u << 1)
#define FLAG_SHORT_VALUE (1u << 2) /* only where there is a short form: else a bit of the count */
#define POINTER_BYTES    8
#define EXPIRE_BYTES     8
#define VALUE_HEAD_BYTES 3 /* a string header with lengths of one byte */
#define PROBE            "short"

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

/* A byte with the size of the key's header stands before it. */
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
