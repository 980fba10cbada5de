/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a value's layout says against what the server says of the same key. Forked child only.
 */
#ifndef BEAM_VALUE_PROOF_H
#define BEAM_VALUE_PROOF_H

#include <stdbool.h>

#include "open_key.h"
#include "serializer.h"
#include "value.h"

#define BEAM_EMBSTR_MAX_BYTES  128 /* at most this long, StringDMA may rewrite the value object */
#define BEAM_DUMP_FOOTER_BYTES 10  /* RDB version and CRC64 */

/* The key's name as a string of the server's, for commands. The caller frees it. */
RedisModuleString *beam_open_key_string(const struct beam_open_key *key);

/* Compares what beam_value_peek found with what the server answers: long strings with StringDMA, which
 * makes no copy of them, short ones with GET, collections with DUMP. A lookup writes the key's LRU
 * field, so this is for a few keys of each layout. */
bool beam_value_proved(RedisModuleCtx *ctx, const struct beam_open_key *key,
		       const struct beam_value *value);

/* The same by what the server's serializer says of the object, for where commands are refused. */
bool beam_value_proved_by(struct beam_serializer *serializer, const void *object,
			  const struct beam_value *value);

#endif
