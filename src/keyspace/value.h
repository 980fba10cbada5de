/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads values by their private layout. The fourth word of an open key points to the value object.
 * The object's first byte holds type and encoding. Its data word is an integer, or points to a
 * string or to the single memory block of a small collection, which is also what an RDB record
 * holds (source: server.h, sds.h, listpack.h, intset.h, rdb.c of Redis 7.0.15, 7.2.6, 7.4.1, Valkey
 * 8.0.1; for newer versions see object.h). The caller first checks whether the memory is there, and
 * compares some values of each encoding with what the server itself says (record.c).
 */
#ifndef BEAM_VALUE_H
#define BEAM_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

enum beam_value_kind {
	BEAM_VALUE_INT,   /* a string that represents `number` */
	BEAM_VALUE_BYTES, /* a string, bytes[0..len_bytes) */
	/* A collection. Its record is `prefix`, then the block as an RDB string. */
	BEAM_VALUE_BLOB,
};

struct beam_value {
	enum beam_value_kind kind;
	uint8_t layout;   /* type and encoding; proofs are kept by it */
	uint8_t rdb_type; /* enum beam_rdb_type */
	uint8_t prefix[2];
	uint8_t prefix_bytes;
	int64_t number;
	const char *bytes; /* points into the object's memory */
	size_t len_bytes;
};

/* Type and encoding of a key's value, as in struct beam_value; UINT8_MAX if there is none. Safe for
 * any object that the server returns. */
uint8_t beam_value_layout(RedisModuleKey *key);

/* Whether values of this layout can be read by beam_value_peek at all. */
bool beam_value_readable(uint8_t layout);

/* The value object of an open key if its type is what the server says; otherwise NULL. */
const void *beam_value_object(RedisModuleKey *key);

/* Whether all memory that beam_value_peek would read, and the bytes that it would return, can be
 * read. Takes system calls: for layouts that are not trusted yet. */
bool beam_value_is_there(RedisModuleKey *key);

/* Reads a key's value without a lookup. False if values of its kind are not read this way, or if
 * it does not look as described above; then *value must not be used. Writes nothing to the
 * keyspace. */
bool beam_value_peek(RedisModuleKey *key, struct beam_value *value);

/* Prefetches the memory that beam_value_peek and a copy of the value will read, after the first
 * cache line or two, which were prefetched when the object was found. For trusted layouts only. */
void beam_value_fetch(const void *object);

#endif
