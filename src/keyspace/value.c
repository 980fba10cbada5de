/* SPDX-License-Identifier: BSD-3-Clause */
#include "value.h"

#include "object.h"
#include "own_memory.h"
#include "rdb.h"
#include "sds_length.h"

#define KEY_WORD_VALUE  3          /* ctx, db, name, value */
#define BLOCK_MAX_BYTES (1u << 20) /* larger blocks are not used as proofs */
#define LOOK_BYTES      4096       /* to check of a string; StringDMA proves long ones */

#define LAYOUT(type, encoding) ((type) | (encoding) << 4)
#define STRING_RAW             LAYOUT(0, 0)
#define STRING_INT             LAYOUT(0, 1)
#define STRING_EMBSTR          LAYOUT(0, 8)
#define LIST_LISTPACK          LAYOUT(1, 11) /* 7.2+ */
#define SET_INTSET             LAYOUT(2, 6)
#define SET_LISTPACK           LAYOUT(2, 11) /* 7.2+ */
#define ZSET_LISTPACK          LAYOUT(3, 11)
#define HASH_LISTPACK          LAYOUT(4, 11)

#define LISTPACK_MIN_BYTES 7 /* total size (4), number of elements (2), end mark */
#define LISTPACK_END       0xff
#define INTSET_HEAD_BYTES  8 /* size of an integer (4), number of integers (4) */

#define LINE_BYTES    64
#define FETCHED_BYTES 120  /* of a value; prefetched before its length is known */
#define FETCH_BYTES   1024 /* after that the hardware prefetcher has recognized the pattern */

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

static size_t intset_bytes(const uint8_t *block)
{
	return INTSET_HEAD_BYTES + (size_t)beam_get_le32(block) * beam_get_le32(block + 4);
}

static bool peek_intset(struct beam_value *value)
{
	const uint8_t *block = (const uint8_t *)value->bytes;

	if (!block)
		return false;
	uint32_t width = beam_get_le32(block);

	value->kind = BEAM_VALUE_BLOB;
	value->rdb_type = BEAM_RDB_SET_INTSET;
	value->len_bytes = intset_bytes(block);
	return width == 2 || width == 4 || width == 8;
}

static const unsigned char *object_of(RedisModuleKey *key)
{
	const unsigned char *object = ((unsigned char **)(void *)key)[KEY_WORD_VALUE];

	return (uintptr_t)object % sizeof(void *) ? NULL : object;
}

/* The word after the object's head: an integer, or the address of the value. */
static uintptr_t data_of(const unsigned char *object)
{
	uintptr_t data;

	memcpy(&data, object + BEAM_OBJECT_HEAD_BYTES, sizeof(data));
	return data;
}

static const char *string_of(const unsigned char *object)
{
	const char *embedded = beam_object_short_value(object);

	return embedded ? embedded : (const char *)data_of(object);
}

uint8_t beam_value_layout(RedisModuleKey *key)
{
	const unsigned char *object = object_of(key);

	return object ? object[0] : UINT8_MAX;
}

bool beam_value_readable(uint8_t layout)
{
	switch (layout) {
	case STRING_INT:
	case STRING_RAW:
	case STRING_EMBSTR:
	case SET_INTSET:
	case SET_LISTPACK:
	case ZSET_LISTPACK:
	case HASH_LISTPACK:
	case LIST_LISTPACK:
		return true;
	default:
		return false;
	}
}

const void *beam_value_object(RedisModuleKey *key)
{
	/* server.h: string, list, set, zset, hash, module, stream, array. redismodule.h has
	 * another order. */
	static const int types[] = {REDIS_KEY_STRING, REDIS_KEY_LIST, REDIS_KEY_SET,
				    REDIS_KEY_ZSET,   REDIS_KEY_HASH, REDIS_KEY_MODULE,
				    REDIS_KEY_STREAM, REDIS_KEY_ARRAY};
	const unsigned char *object = object_of(key);
	unsigned type = object ? object[0] & 15u : UINT8_MAX;

	if (type >= sizeof(types) / sizeof(types[0]) || types[type] != RedisModule_KeyType(key))
		return NULL;
	return object;
}

static bool string_is_there(const char *bytes)
{
	unsigned char kind, head[BEAM_SDS_HEAD_MAX + 1];
	size_t head_len, len;

	if (!bytes || !beam_read_memory((uintptr_t)bytes - 1, &kind, 1))
		return false;
	head_len = beam_sds_head_bytes(kind);
	/* Copied with its header, so that the length can be taken from the copy. */
	if (!head_len || !beam_read_memory((uintptr_t)bytes - head_len, head, head_len) ||
	    !beam_sds_length(head + head_len, &len))
		return false;
	return beam_memory_there(bytes, len < LOOK_BYTES ? len : LOOK_BYTES);
}

static bool block_is_there(const uint8_t *block, uint8_t layout)
{
	uint8_t head[INTSET_HEAD_BYTES];
	size_t len;

	if (!block || !beam_read_memory((uintptr_t)block, head, sizeof(head)))
		return false;
	len = beam_get_le32(head);
	if (layout == SET_INTSET)
		len = intset_bytes(head);
	return len <= BLOCK_MAX_BYTES && beam_memory_there(block, len);
}

bool beam_value_is_there(RedisModuleKey *key)
{
	const unsigned char *object = object_of(key);

	if (!object || !beam_memory_there(object, BEAM_OBJECT_NEAR_BYTES))
		return false;
	switch (object[0]) {
	case STRING_INT:
		return true;
	case STRING_RAW:
	case STRING_EMBSTR:
		return string_is_there(string_of(object));
	case SET_INTSET:
	case SET_LISTPACK:
	case ZSET_LISTPACK:
	case HASH_LISTPACK:
	case LIST_LISTPACK:
		return block_is_there((const uint8_t *)data_of(object), object[0]);
	default:
		return false;
	}
}

static void fetch(const char *bytes, size_t len_bytes)
{
	size_t end = len_bytes < FETCH_BYTES ? len_bytes : FETCH_BYTES;

	for (size_t at = FETCHED_BYTES; at < end; at += LINE_BYTES)
		__builtin_prefetch(bytes + at);
	__builtin_prefetch(bytes + len_bytes - 1);
}

void beam_value_fetch(const void *object)
{
	const unsigned char *head = object;
	const char *bytes = (const char *)data_of(head);
	size_t len;

	if (!bytes)
		return;
	switch (head[0]) {
	case STRING_RAW:
		if (beam_sds_length((const unsigned char *)bytes, &len))
			fetch(bytes, len);
		break;
	case SET_INTSET:
		fetch(bytes, intset_bytes((const uint8_t *)bytes));
		break;
	case SET_LISTPACK:
	case ZSET_LISTPACK:
	case HASH_LISTPACK:
	case LIST_LISTPACK:
		fetch(bytes, beam_get_le32((const uint8_t *)bytes));
		break;
	default: /* other values are short, and were prefetched with the object */
		break;
	}
}

bool beam_value_peek(RedisModuleKey *key, struct beam_value *value)
{
	const unsigned char *object = object_of(key);

	if (!object)
		return false;
	uintptr_t data = data_of(object);

	value->layout = object[0];
	value->rdb_type = BEAM_RDB_STRING;
	value->prefix_bytes = 0;
	value->bytes = (const char *)data;
	switch (value->layout) {
	case STRING_INT:
		value->kind = BEAM_VALUE_INT;
		value->number = (int64_t)data;
		return digits(value->number) == RedisModule_ValueLength(key);
	case STRING_EMBSTR:
		value->bytes = string_of(object);
		return peek_bytes(key, value);
	case STRING_RAW:
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
