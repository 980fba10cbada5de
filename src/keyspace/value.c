/* SPDX-License-Identifier: BSD-3-Clause */
#include "value.h"

#include <string.h>

#define KEY_WORD_VALUE  3 /* ctx, db, name, value */
#define OBJECT_DATA_AT  8 /* 4 bytes of type, encoding, lru; 4 of reference count; then the data */
#define ENCODING_RAW    0
#define ENCODING_INT    1
#define ENCODING_EMBSTR 8

static size_t digits(int64_t number)
{
	uint64_t v = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
	size_t n = number < 0;

	do {
		n++;
		v /= 10;
	} while (v);
	return n;
}

/* Length in the header that stands before a string's bytes; false for an unknown kind. */
static bool string_length(const unsigned char *bytes, size_t *len)
{
	uint16_t len16;
	uint32_t len32;
	uint64_t len64;

	switch (bytes[-1] & 7) {
	case 0:
		*len = bytes[-1] >> 3;
		return true;
	case 1:
		*len = bytes[-3];
		return true;
	case 2:
		memcpy(&len16, bytes - 5, sizeof(len16));
		*len = len16;
		return true;
	case 3:
		memcpy(&len32, bytes - 9, sizeof(len32));
		*len = len32;
		return true;
	case 4:
		memcpy(&len64, bytes - 17, sizeof(len64));
		*len = len64;
		return true;
	default:
		return false;
	}
}

bool beam_value_peek(RedisModuleKey *key, struct beam_value *value)
{
	const unsigned char *object = ((unsigned char **)(void *)key)[KEY_WORD_VALUE];
	uintptr_t data;

	if (!object || (uintptr_t)object % sizeof(void *) || (object[0] & 15) != 0)
		return false;
	memcpy(&data, object + OBJECT_DATA_AT, sizeof(data));
	value->is_int = object[0] >> 4 == ENCODING_INT;
	if (value->is_int) {
		value->number = (int64_t)data;
		return digits(value->number) == RedisModule_ValueLength(key);
	}
	if ((object[0] >> 4 != ENCODING_RAW && object[0] >> 4 != ENCODING_EMBSTR) || !data)
		return false;
	value->bytes = (const char *)data;
	return string_length((const unsigned char *)data, &value->len_bytes) &&
	       value->len_bytes == RedisModule_ValueLength(key);
}
