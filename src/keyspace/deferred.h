/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Keys that one process has found and another will read: names and what stands before a record. Plain
 * memory of the process that fills it; those forked later inherit it. One thread.
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
	char *name; /* its own copy */
	size_t name_bytes;
	const void *object; /* the value; NULL: not known */
	int64_t expire_ms;  /* as RM_GetAbsExpire */
	uint32_t db;
	bool is_string;
	uint8_t meta_bytes;
	uint8_t meta[BEAM_DEFERRED_META_BYTES]; /* opcodes in front of the record */
};

struct beam_deferred {
	struct beam_deferred_key *keys;
	size_t n, cap;
};

/* Adds a key of this database; its name is copied. 0 or -ENOMEM. */
int beam_deferred_add(struct beam_deferred *list, const struct beam_open_key *key,
		      const struct beam_record_meta *meta, uint32_t db, bool is_string);
void beam_deferred_free(struct beam_deferred *list);

#endif
