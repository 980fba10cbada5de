/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A value that threads have made goes into its key as it is. Servers up to Valkey 9.0 and Redis 8.0 keep the string object
 * that RM_StringSet is given; later ones have an object of their own in the table, and move the value's bytes into
 * it only where nobody else refers to them. RM_StringSet refers to them itself, and so copies each value on the
 * main thread. Here that reference is the caller's, handed over (docs/adr/0108). Main thread, one load at a time.
 */
#ifndef BEAM_LOAD_VALUE_H
#define BEAM_LOAD_VALUE_H

#include <stdbool.h>

#include "redis_api.h"

/* A load begins: what the server does is looked at anew. `hand_over`: references may be handed over. */
void beam_load_value_begin(bool hand_over);

/* Sets the empty `key` to `value`, of more than 64 bytes, which is the caller's no more. False: the server
 * refuses, `value` is freed. */
bool beam_load_value_set(RedisModuleKey *key, RedisModuleString *value);

#endif
