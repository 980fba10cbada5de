/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Compares values read by layout with what the server says of the same keys. Used in a forked child
 * only.
 */
#ifndef BEAM_VALUE_PROOF_H
#define BEAM_VALUE_PROOF_H

#include <stdbool.h>

#include "open_key.h"
#include "serializer.h"
#include "value.h"

#define BEAM_EMBSTR_MAX_BYTES  128 /* up to this length StringDMA may rewrite the value */
#define BEAM_DUMP_FOOTER_BYTES 10  /* RDB version and CRC64 */

/* The key's name as one of the server's strings, for commands. The caller frees it. */
RedisModuleString *beam_open_key_string(const struct beam_open_key *key);

/* Compares what beam_value_peek found with the server's answer: from StringDMA for long strings,
 * since it does not copy them, from GET for short ones, from DUMP for collections. Lookups write to
 * the key's LRU field, so do this for a few keys of each layout only. */
bool beam_value_proved(RedisModuleCtx *ctx, const struct beam_open_key *key,
		       const struct beam_value *value);

/* Compares it with what the server's serializer writes for the object, where commands may be
 * refused. */
bool beam_value_proved_by(struct beam_serializer *serializer, const void *object,
			  const struct beam_value *value);

#endif
