/* SPDX-License-Identifier: BSD-3-Clause
 * The opcodes in front of a key in its record: its expiry time, and how long it was idle or how
 * often it was used; with room for the type. */
#ifndef BEAM_RECORD_META_H
#define BEAM_RECORD_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "open_key.h"
#include "rdb.h"
#include "record.h"

#define BEAM_RECORD_META_BYTES (1 + 8 + 1 + BEAM_RDB_LEN_MAX_BYTES + 1)

struct beam_record_meta {
	mstime_t expire; /* REDISMODULE_NO_EXPIRE: none */
	uint8_t bytes[BEAM_RECORD_META_BYTES];
	size_t len;
};

/* Composes the opcodes of a key. Asks the server only for what the walk has not found next to the
 * key. */
void beam_record_meta_of(const struct beam_open_key *key, enum beam_eviction eviction,
			 struct beam_record_meta *meta);

/* Whether the key has expired by now. "Now" is later than the time that lookups by name use
 * (still.h of the module). */
bool beam_record_has_expired(const struct beam_record_meta *meta);

#endif
