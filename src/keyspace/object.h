/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What lies inside a value object by private layout (source: object.c, server.h of Valkey 8.1 and
 * object_internals.h of Valkey 9.1): in a keyspace of buckets the key, and the time it expires, are
 * behind the object's own words; from 9.1 on a short string lies behind these, in the place of the
 * pointer to it ("short form"). Pure reads; the object must be one of the server's.
 */
#ifndef BEAM_OBJECT_H
#define BEAM_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEAM_OBJECT_HEAD_BYTES 8  /* type, encoding, lru; flags and reference count */
#define BEAM_OBJECT_NEAR_BYTES 48 /* all that is read of an object before a length is known */

/* Whether this server keeps short strings in the short form: asked of a string that it makes. Not in
 * a thread of its own; the answer is kept. */
bool beam_object_short_form(void);

/* The embedded key. expire_ms: -1 for none. False where there is no key of such a form. */
bool beam_object_key(const unsigned char *object, const char **key, int64_t *expire_ms);

/* The bytes of a string object in the short form, or NULL when it is of another. */
const char *beam_object_short_value(const unsigned char *object);

#endif
