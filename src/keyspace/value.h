/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Short string values by private layout: the open key's fourth word points to the value object,
 * whose first byte holds type and encoding, and whose data word is the integer or the string itself
 * (source: server.h and sds.h of Redis 7.0.15, 7.2.6, 7.4.1, Valkey 8.0.1). Whoever uses it
 * compares it with the public API first (record.c) and checks each length against RM_ValueLength.
 */
#ifndef BEAM_VALUE_H
#define BEAM_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

struct beam_value {
	bool is_int;
	int64_t number;    /* if is_int */
	const char *bytes; /* else; points into the object */
	size_t len_bytes;
};

/* Reads a string key's value without any lookup. False when the object does not look as told above:
 * then nothing in *value may be used. Reads memory only. */
bool beam_value_peek(RedisModuleKey *key, struct beam_value *value);

#endif
