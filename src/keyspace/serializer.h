/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Serializes values by calling the server's own serializer, which it exports (rdbSaveObject with
 * rdbSaveObjectType: rdb.h of Redis 7.0.15 to 8.0, Valkey 7.2.7 to 8.1; with rdbGetObjectType:
 * rdb.c of Valkey 9.1). This is what DUMP calls; here it writes to our memory, without the lookup,
 * the slow CRC and two copies of the result. Used in a forked child with rdbcompression off.
 * `rdb_version` is the version that the server itself writes. One thread.
 */
#ifndef BEAM_SERIALIZER_H
#define BEAM_SERIALIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "open_key.h"
#include "redis_api.h"

struct beam_serializer;

/* Returns NULL if this server does not have the serializer in a known form, or without memory. With
 * `in_cluster`, commands may be refused (on every replica they are); then the server's own count of
 * the bytes must do for a proof. */
struct beam_serializer *beam_serializer_open(unsigned rdb_version, bool in_cluster);
/* Accepts NULL, clears the pointer. */
void beam_serializer_close(struct beam_serializer **serializer);

/* Number of elements whose memory was prefetched; 0 if there is no serializer (NULL). */
uint64_t beam_serializer_ahead(const struct beam_serializer *serializer);

struct beam_serialized {
	/* An RDB type byte, then what follows the key in a record. Valid until the next call. */
	const uint8_t *bytes;
	size_t len_bytes; /* of all of it */
	bool in_pieces;   /* only the first bytes are in `bytes`, including the type */
};

/* Serializes key->object. The first few values are compared with DUMP, so values that have expired
 * (`expired`) cannot serve as a proof. False: read it another way. If an object was not serialized
 * as DUMP does it, all later calls return false. */
bool beam_serializer_value(struct beam_serializer *serializer, RedisModuleCtx *ctx,
			   const struct beam_open_key *key, bool expired,
			   struct beam_serialized *value);

/* Whether the last value was refused for lack of memory. Do not use a command for it then: the
 * server would need as much memory, and would crash without it. */
bool beam_serializer_lacks_memory(const struct beam_serializer *serializer);

/* Serializes the last value once more, and passes all but the type byte to `add`, with `to`, in
 * pieces. 0, what `add` returned, or BEAM_E_SERVER. `serializer` is a struct beam_serializer. */
int beam_serializer_pieces(void *serializer,
			   int (*add)(void *to, const void *bytes, size_t len_bytes), void *to);

/* Gets what the server writes for any object but a module's: type byte and value, valid until the
 * next call. Used to prove what is read by layout. False as above. */
bool beam_serializer_says(struct beam_serializer *serializer, const void *object,
			  const uint8_t **bytes, size_t *len_bytes);

#endif
