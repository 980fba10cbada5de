/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Values by the server's own serializer, which it exports (rdbSaveObject with rdbSaveObjectType: rdb.h of
 * Redis 7.0.15 to 8.0, Valkey 7.2.7 to 8.1; with rdbGetObjectType: rdb.c of Valkey 9.1), written to
 * memory of ours: what DUMP calls, without the lookup, the slow CRC, and two copies of the result. In a
 * forked child, where rdbcompression is off. `rdb_version` is what the server itself writes.
 * One thread.
 */
#ifndef BEAM_SERIALIZER_H
#define BEAM_SERIALIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "open_key.h"
#include "redis_api.h"

struct beam_serializer;

/* NULL when this server does not have it in the form that is known, or there is no memory. In a cluster
 * commands may be refused, as on every replica: then the server's own count of the bytes must do for a proof. */
struct beam_serializer *beam_serializer_open(unsigned rdb_version, bool in_cluster);
void beam_serializer_close(struct beam_serializer **serializer);

/* Elements whose memory was fetched ahead; 0 without a serializer. */
uint64_t beam_serializer_ahead(const struct beam_serializer *serializer);

struct beam_serialized {
	const uint8_t *
	    bytes; /* an RDB type byte and what follows the key in a record; good until the next call */
	size_t len_bytes; /* of all that */
	bool in_pieces;   /* only the first bytes are there, the type among them */
};

/* The value of key->object. The first few are compared with DUMP, so they must not have `expired`. False: not this way;
 * if the object could not be serialized as DUMP does, never again. */
bool beam_serializer_value(struct beam_serializer *serializer, RedisModuleCtx *ctx,
			   const struct beam_open_key *key, bool expired,
			   struct beam_serialized *value);

/* Whether the last value was refused for want of memory. The server would look for as much, and crash without it. */
bool beam_serializer_lacks_memory(const struct beam_serializer *serializer);

/* Gives what follows the type byte of the value before to `add`, with `to`, in pieces, by serializing it once more.
 * 0, what `add` returned, or BEAM_E_SERVER. `serializer` is a struct beam_serializer. */
int beam_serializer_pieces(void *serializer,
			   int (*add)(void *to, const void *bytes, size_t len_bytes), void *to);

/* What the server writes of any object but a module's: type byte and value; good until the next call. For
 * proofs of what is read by layout. False as above. */
bool beam_serializer_says(struct beam_serializer *serializer, const void *object,
			  const uint8_t **bytes, size_t *len_bytes);

#endif
