/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What lies inside a value object by private layout (source: object.c, server.h of Valkey 8.1 and
 * object_internals.h of Valkey 9.1): in a keyspace of buckets the key, and the time it expires, are
 * behind the object's own words; from 9.1 on a short string lies behind these, in the place of the
 * pointer to it ("short form"). Redis since 8.2 has key and time there, too; since 8.6 the time, and what
 * modules keep of the key, is in front of the object (source: object.h, object.c of Redis 8.6.3). Pure reads;
 * the object must be one of the server's.
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

/* Where Redis marks an object as one with a key inside. */
enum beam_kv_form {
	BEAM_KV_NONE,   /* it has none, or this is not known */
	BEAM_KV_BEHIND, /* in front of the reference count; the time is between object and key */
	BEAM_KV_BEFORE, /* behind the reference count; the time is in front of the object */
};

/* Which of them it is, as far as an object without a key shows: that the server makes for it. Not in a
 * thread of its own; the answer is kept. Valkey 8.1 looks like the first. */
enum beam_kv_form beam_object_kv_form(void);

/* The key inside an object of that form. False where there is none. */
bool beam_object_kv_key(enum beam_kv_form form, const unsigned char *object, const char **key);

/* The bytes of a string object in the short form, or NULL when it is of another. */
const char *beam_object_short_value(const unsigned char *object);

#endif
