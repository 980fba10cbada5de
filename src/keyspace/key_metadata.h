/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Metadata that other modules attach to keys of any type (RedisModule_CreateKeyMetaClass, Redis
 * 8.6). The server writes it in front of the key's type in dumps and DUMP payloads; no command
 * shows it. The image format has no place for it, so the server itself saves a snapshot that has
 * such a key. Whether a key has metadata is found by calling the server's own function for saving
 * it (rdbSaveKeyMetadata: keymeta.c of Redis 8.6.3). Used in a forked child. One thread.
 */
#ifndef BEAM_KEY_METADATA_H
#define BEAM_KEY_METADATA_H

#include <stdbool.h>

#include "open_key.h"
#include "redis_api.h"

struct beam_key_metadata;

/* Whether this server supports key metadata at all. */
bool beam_key_metadata_known(void);

/* Returns NULL if the server's function cannot be used, or without memory. */
struct beam_key_metadata *beam_key_metadata_open(void);
/* Accepts NULL, clears the pointer. */
void beam_key_metadata_close(struct beam_key_metadata **metadata);

/* Whether a dump of database `db` would hold metadata of this key. Also true if the server's
 * function fails. */
bool beam_key_metadata_has(struct beam_key_metadata *metadata, const struct beam_open_key *key,
			   const void *object, int db);

#endif
