/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What modules keep of keys of any type (RedisModule_CreateKeyMetaClass, Redis 8.6). The server writes it in front of a
 * key's type, in dumps and in DUMP, and no command shows it. An image has no place for it: a snapshot
 * with such a key is left to the server. The server is asked of each object, by its own function for
 * that (rdbSaveKeyMetadata: keymeta.c of Redis 8.6.3). In a forked child. One thread.
 */
#ifndef BEAM_KEY_METADATA_H
#define BEAM_KEY_METADATA_H

#include <stdbool.h>

#include "open_key.h"
#include "redis_api.h"

struct beam_key_metadata;

/* Whether this server knows of such a thing at all. */
bool beam_key_metadata_known(void);

/* NULL when it cannot be asked, or there is no memory. */
struct beam_key_metadata *beam_key_metadata_open(void);
void beam_key_metadata_close(struct beam_key_metadata **metadata);

/* Whether a dump would hold some of this key's, in database `db`. True also where that fails. */
bool beam_key_metadata_has(struct beam_key_metadata *metadata, const struct beam_open_key *key,
			   const void *object, int db);

#endif
