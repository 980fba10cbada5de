/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Builds the bytes of one part: plain copies, AUX records, and the items of a chunk that the module
 * leaves to the server.
 */
#include "module_part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int beam_module_part_add(struct beam_module_part *part, const void *bytes, size_t len_bytes)
{
	size_t need = part->own_bytes + len_bytes;

	if (!len_bytes)
		return 0;
	if (need > part->own_cap) {
		size_t cap = need + need / 2;
		uint8_t *grown = realloc(part->own, cap);

		if (!grown)
			return -ENOMEM;
		part->own = grown;
		part->own_cap = cap;
	}
	memcpy(part->own + part->own_bytes, bytes, len_bytes);
	part->own_bytes = need;
	return 0;
}

int beam_module_part_aux(struct beam_module_part *part, enum beam_load_aux kind, uint64_t number,
			 uint64_t count, const uint8_t nonce[BEAM_LOAD_SECRET_BYTES])
{
	uint8_t aux[BEAM_LOAD_AUX_MAX];

	return beam_module_part_add(part, aux, beam_load_put_aux(aux, kind, number, count, nonce));
}

static int add_select(struct beam_module_part *part, uint32_t db)
{
	uint8_t select[1 + BEAM_RDB_LEN_MAX_BYTES] = {BEAM_RDB_OP_SELECTDB};

	return beam_module_part_add(part, select, 1 + beam_rdb_put_len(select + 1, db));
}

int beam_module_part_split(struct beam_module_part *part, const struct beam_chunk *chunk,
			   uint64_t *taken)
{
	struct beam_chunk_cursor cursor = {0};
	struct beam_item item;
	int64_t db = -1;  /* database that the stream has selected; -1: unknown */
	size_t begun = 0; /* items in [begun, at) are appended in one piece */
	size_t at = 0;
	int rc;

	*taken = 0;
	while ((rc = beam_chunk_next(chunk, &cursor, &item)) == 1) {
		if (beam_load_takes(&item)) {
			++*taken;
			rc = beam_module_part_add(part, chunk->base + begun, at - begun);
			begun = cursor.body_pos;
		} else if (begun == at && db != item.db) {
			/* The item may select its database itself, or an item that the module takes
			 * may have done so before. */
			rc = add_select(part, item.db);
		} else {
			rc = 0;
		}
		if (rc)
			return rc;
		if (begun != cursor.body_pos)
			db = item.db;
		at = cursor.body_pos;
	}
	return rc ? rc : beam_module_part_add(part, chunk->base + begun, at - begun);
}
