/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A list of keys that one process has found and another will read: their names, and the opcodes in
 * front of their records. It is ordinary memory of the process that fills it; processes forked
 * later inherit it. One thread.
 */
#ifndef BEAM_DEFERRED_H
#define BEAM_DEFERRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "open_key.h"

struct beam_record_meta;

#define BEAM_DEFERRED_META_BYTES 32

struct beam_deferred_key {
	char *name; /* owned copy */
	size_t name_bytes;
	const void *object; /* the value; NULL if not known */
	int64_t expire_ms;  /* as from RM_GetAbsExpire */
	uint32_t db;
	bool is_string;
	uint8_t meta_bytes;
	uint8_t meta[BEAM_DEFERRED_META_BYTES]; /* opcodes in front of the record */
};

struct beam_deferred {
	struct beam_deferred_key *keys;
	size_t n, cap;
};

/* Adds a key of database `db` and copies its name. 0 or -ENOMEM; after a failure the list is as
 * before. */
int beam_deferred_add(struct beam_deferred *list, const struct beam_open_key *key,
		      const struct beam_record_meta *meta, uint32_t db, bool is_string);
/* Frees the names and the list, which is empty then. */
void beam_deferred_free(struct beam_deferred *list);

#endif
