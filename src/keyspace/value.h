/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Values by private layout: the open key's fourth word points to the value object, whose first byte
 * holds type and encoding, and whose data word is the integer, the string, or the one block of
 * memory of a small collection, which is also what an RDB record holds (source: server.h, sds.h,
 * listpack.h, intset.h, rdb.c of Redis 7.0.15, 7.2.6, 7.4.1, Valkey 8.0.1; object.h tells of newer
 * ones). Whoever uses it looks first whether the memory is there, and compares each encoding with
 * what the server itself says (record.c).
 */
#ifndef BEAM_VALUE_H
#define BEAM_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

enum beam_value_kind {
	BEAM_VALUE_INT,   /* a string that is `number` */
	BEAM_VALUE_BYTES, /* a string that is bytes[0..len_bytes) */
	BEAM_VALUE_BLOB, /* a collection: its record is `prefix`, then the block as an RDB string */
};

struct beam_value {
	enum beam_value_kind kind;
	uint8_t layout;   /* type and encoding: what a proof is kept for */
	uint8_t rdb_type; /* enum beam_rdb_type */
	uint8_t prefix[2];
	uint8_t prefix_bytes;
	int64_t number;
	const char *bytes; /* points into the object */
	size_t len_bytes;
};

/* Type and encoding of a key's value, as in struct beam_value; UINT8_MAX for none. Any object that the
 * server shows may be asked. */
uint8_t beam_value_layout(RedisModuleKey *key);

/* Whether values of this layout can be peeked at, at all. */
bool beam_value_readable(uint8_t layout);

/* The value object of an open key, if it is of the type that the server says; NULL if that cannot be told. */
const void *beam_value_object(RedisModuleKey *key);

/* Whether all that beam_value_peek would read, and the bytes that it would tell of, is memory. Takes
 * system calls: for layouts that have not proved themselves. */
bool beam_value_is_there(RedisModuleKey *key);

/* Reads a key's value without any lookup. False when the value is of a kind that is not read this
 * way, or does not look as told above: then nothing in *value may be used. Reads memory only. */
bool beam_value_peek(RedisModuleKey *key, struct beam_value *value);

/* Asks for the memory that beam_value_peek and a copy of the value will read, behind the first line or two, which
 * whoever found the object asked for. Only for layouts that have proved themselves. */
void beam_value_fetch(const void *object);

#endif
