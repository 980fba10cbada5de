/* SPDX-License-Identifier: BSD-3-Clause */
#include "records.h"

#include <stdlib.h>
#include <string.h>

#include "rdb.h"
#include "rdbeam/error.h"

/* Checks whether the file ends with a manifest. A damaged manifest is an error; it does not make
 * the file a plain one. */
static int open_manifest(struct beam_records *r)
{
	const size_t tail = BEAM_MANIFEST_FOOTER_BYTES + BEAM_LAST_TAIL_BYTES;
	struct beam_manifest_footer footer;

	if (r->len_bytes < tail ||
	    beam_manifest_footer_get(r->base + r->len_bytes - tail, &footer) != 0)
		return 0;
	uint64_t start = footer.nsegments ? (uint64_t)(footer.nsegments - 1) * footer.segment_bytes
					  : r->len_bytes;

	if (start >= r->len_bytes)
		return BEAM_E_FORMAT;
	r->is_image = true;
	return beam_manifest_open(r->base + start, (size_t)(r->len_bytes - start), &r->manifest);
}

int beam_records_open(const uint8_t *base, size_t len_bytes, struct beam_records *out)
{
	struct beam_records r = {.base = base, .len_bytes = len_bytes};
	int err;

	if (beam_rdb_get_magic(base, len_bytes) < 0)
		return BEAM_E_FORMAT;
	err = open_manifest(&r);
	if (err)
		return err;
	beam_records_rewind(&r);
	*out = r;
	return 0;
}

void beam_records_close(struct beam_records *records)
{
	free(records->key.bytes);
	memset(records, 0, sizeof(*records));
}

void beam_records_rewind(struct beam_records *records)
{
	memset(&records->chunk, 0, sizeof(records->chunk));
	memset(&records->cursor, 0, sizeof(records->cursor));
	memset(&records->record, 0, sizeof(records->record));
	records->next_segment = 0;
	records->pos = BEAM_RDB_MAGIC_BYTES;
	records->ended = 0;
}

static int next_in_image(struct beam_records *r, struct beam_item *item)
{
	const struct beam_manifest_footer *m = &r->manifest.footer;

	for (;;) {
		/* No chunk is open before the first one. The header chunk has no items. */
		int err = r->chunk.base ? beam_chunk_next(&r->chunk, &r->cursor, item) : 0;

		if (err)
			return err;
		if (r->next_segment == m->nsegments - 1)
			return 0;
		err = beam_chunk_find(&m->gen, r->base, m->nsegments - 1, m->segment_bytes,
				      r->next_segment, &r->chunk);
		if (err)
			return err;
		r->next_segment += r->chunk.footer.nsegments;
		memset(&r->cursor, 0, sizeof(r->cursor));
	}
}

static int next_in_rdb(struct beam_records *r, struct beam_item *item)
{
	int err;

	do
		err = beam_rdb_next_record(r->base, r->len_bytes, &r->pos, &r->record);
	while (!err && r->record.kind != BEAM_RDB_IS_KEY && r->record.kind != BEAM_RDB_IS_END);
	if (err || r->record.kind == BEAM_RDB_IS_END)
		return err;
	err = beam_rdb_record_item(r->base, r->pos, &r->record, &r->key, item);
	return err ? err : 1;
}

int beam_records_next(struct beam_records *records, struct beam_item *item)
{
	if (records->ended)
		return records->ended < 0 ? records->ended : 0;
	int got = records->is_image ? next_in_image(records, item) : next_in_rdb(records, item);

	if (got != 1)
		records->ended = got ? got : 1;
	return got;
}
