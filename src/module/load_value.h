/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Puts values that threads have made into their keys without a copy on the main thread. Older
 * servers (Redis 7.0 to 7.4, Valkey 8.0) keep the string object that RM_StringSet is given. Later
 * ones (Redis 8.6, Valkey 8.1 and 9.1) have an object of their own in the table, and move the value's bytes
 * into it only if nobody else holds a reference. RM_StringSet itself takes one, so they always
 * copy, unless the caller hands its own reference over (docs/adr/0108). Main thread, one load at a
 * time.
 */
#ifndef BEAM_LOAD_VALUE_H
#define BEAM_LOAD_VALUE_H

#include <stdbool.h>

#include "redis_api.h"

/* Starts a load: how the server sets values is found out anew. `hand_over`: true if references may
 * be handed over, which changes the refcount inside the server's objects. */
void beam_load_value_begin(bool hand_over);

/* Sets the empty `key` to `value`, which must be longer than 64 bytes. Takes over the caller's
 * reference to `value` in any case. Returns false if the server refuses; `value` is then freed. */
bool beam_load_value_set(RedisModuleKey *key, RedisModuleString *value);

#endif
