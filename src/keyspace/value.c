/* SPDX-License-Identifier: BSD-3-Clause */
#include "value.h"

#include "rdb.h"
#include "sds_length.h"

#define KEY_WORD_VALUE 3 /* ctx, db, name, value */
#define OBJECT_DATA_AT 8 /* 4 bytes of type, encoding, lru; 4 of reference count; then the data */

#define LAYOUT(type, encoding) ((type) | (encoding) << 4)
#define STRING_RAW             LAYOUT(0, 0)
#define STRING_INT             LAYOUT(0, 1)
#define STRING_EMBSTR          LAYOUT(0, 8)
#define LIST_LISTPACK          LAYOUT(1, 11) /* 7.2+ */
#define SET_INTSET             LAYOUT(2, 6)
#define SET_LISTPACK           LAYOUT(2, 11) /* 7.2+ */
#define ZSET_LISTPACK          LAYOUT(3, 11)
#define HASH_LISTPACK          LAYOUT(4, 11)

#define LISTPACK_MIN_BYTES 7 /* total (4), number of elements (2), end mark */
#define LISTPACK_END       0xff
#define INTSET_HEAD_BYTES  8 /* bytes of an integer (4), number of them (4) */

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

static bool peek_bytes(RedisModuleKey *key, struct beam_value *value)
{
	value->kind = BEAM_VALUE_BYTES;
	return value->bytes &&
	       beam_sds_length((const unsigned char *)value->bytes, &value->len_bytes) &&
	       value->len_bytes == RedisModule_ValueLength(key);
}

static bool peek_listpack(struct beam_value *value, enum beam_rdb_type type)
{
	const uint8_t *block = (const uint8_t *)value->bytes;

	value->kind = BEAM_VALUE_BLOB;
	value->rdb_type = (uint8_t)type;
	value->len_bytes = block ? beam_get_le32(block) : 0;
	return value->len_bytes >= LISTPACK_MIN_BYTES &&
	       block[value->len_bytes - 1] == LISTPACK_END;
}

static bool peek_intset(struct beam_value *value)
{
	const uint8_t *block = (const uint8_t *)value->bytes;

	if (!block)
		return false;
	uint32_t width = beam_get_le32(block);

	value->kind = BEAM_VALUE_BLOB;
	value->rdb_type = BEAM_RDB_SET_INTSET;
	value->len_bytes = INTSET_HEAD_BYTES + (size_t)width * beam_get_le32(block + 4);
	return width == 2 || width == 4 || width == 8;
}

bool beam_value_peek(RedisModuleKey *key, struct beam_value *value)
{
	const unsigned char *object = ((unsigned char **)(void *)key)[KEY_WORD_VALUE];
	uintptr_t data;

	if (!object || (uintptr_t)object % sizeof(void *))
		return false;
	memcpy(&data, object + OBJECT_DATA_AT, sizeof(data));
	value->layout = object[0];
	value->rdb_type = BEAM_RDB_STRING;
	value->prefix_bytes = 0;
	value->bytes = (const char *)data;
	switch (value->layout) {
	case STRING_INT:
		value->kind = BEAM_VALUE_INT;
		value->number = (int64_t)data;
		return digits(value->number) == RedisModule_ValueLength(key);
	case STRING_RAW:
	case STRING_EMBSTR:
		return peek_bytes(key, value);
	case SET_INTSET:
		return peek_intset(value);
	case SET_LISTPACK:
		return peek_listpack(value, BEAM_RDB_SET_LISTPACK);
	case ZSET_LISTPACK:
		return peek_listpack(value, BEAM_RDB_ZSET_LISTPACK);
	case HASH_LISTPACK:
		return peek_listpack(value, BEAM_RDB_HASH_LISTPACK);
	case LIST_LISTPACK:
		/* Saved as a quicklist of one packed node. */
		value->prefix[0] = 1;
		value->prefix[1] = 2;
		value->prefix_bytes = 2;
		return peek_listpack(value, BEAM_RDB_LIST_QUICKLIST_2);
	default:
		return false;
	}
}
