/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is embedded in a value object, by its private layout (source: object.c, server.h of Valkey
 * 8.1 and object_internals.h of Valkey 9.1). On servers with tables of buckets the key and its
 * expiry time follow the object's own words; from Valkey 9.1 on, a short string follows these and
 * replaces the pointer to it ("short form"). Redis embeds key and time there, too, since 8.2; since
 * 8.6 the time, and what modules attach to the key, precede the object (source: object.h, object.c
 * of Redis 8.6.3). These functions only read. The object must be one of the server's.
 */
#ifndef BEAM_OBJECT_H
#define BEAM_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEAM_OBJECT_HEAD_BYTES 8  /* type, encoding, lru; flags and reference count */
#define BEAM_OBJECT_NEAR_BYTES 48 /* bytes of an object that are read before any length is known */

/* Whether this server keeps short strings in the short form. Finds out by creating a string, and
 * caches the answer. Call it on the server's main thread. */
bool beam_object_short_form(void);

/* Gets the embedded key and its expiry time (-1: none). False if the object has no embedded key. */
bool beam_object_key(const unsigned char *object, const char **key, int64_t *expire_ms);

/* Where Redis marks an object that has an embedded key. */
enum beam_kv_form {
	BEAM_KV_NONE,   /* no embedded keys, or it is not known where */
	BEAM_KV_BEHIND, /* before the reference count; the expiry time is between object and key */
	BEAM_KV_BEFORE, /* after the reference count; the expiry time precedes the object */
};

/* The form that this server uses, as far as an object without a key shows it: creates one, and
 * caches the answer. Call it on the server's main thread. Valkey 8.1 is taken for
 * BEAM_KV_BEHIND. */
enum beam_kv_form beam_object_kv_form(void);

/* Gets the key embedded in an object of this form. False if there is none. */
bool beam_object_kv_key(enum beam_kv_form form, const unsigned char *object, const char **key);

/* The bytes of a string object in the short form, or NULL if it is not in that form. */
const char *beam_object_short_value(const unsigned char *object);

#endif
