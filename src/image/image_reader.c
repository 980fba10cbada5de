/* SPDX-License-Identifier: BSD-3-Clause
 * Decodes and encodes the footers of chunks and manifests, checks their shapes, which makes all
 * later reads safe, and walks the items of a chunk. Nothing here logs, because only the caller
 * knows which segment of which image it is looking at. */
#include "image_reader.h"

#include <assert.h>
#include <string.h>

#include "crc64.h"
#include "rdb_walk.h"
#include "rdbeam/error.h"
#include "text.h"

static_assert(BEAM_CHUNK_FOOTER_BYTES == 8 + 16 + 4 * 4 + 2 * 8, "chunk footer's fields");
static_assert(BEAM_MANIFEST_FOOTER_BYTES == 2 * 8 + 2 * 4 + 16 + 8, "manifest footer's fields");

/* The CRC is the last field of the footer, and so ends the chunk. */
#define CHUNK_CRC_BYTES 8

int beam_chunk_footer_get(const uint8_t *at, struct beam_chunk_footer *footer)
{
	if (memcmp(at, BEAM_CHUNK_MAGIC, sizeof(footer->magic)) != 0)
		return BEAM_E_FORMAT;
	memcpy(footer->magic, at, sizeof(footer->magic));
	footer->gen.nonce = beam_get_le64(at + 8);
	footer->gen.counter = beam_get_le64(at + 16);
	footer->first_index = beam_get_le32(at + 24);
	footer->nsegments = beam_get_le32(at + 28);
	footer->nitems = beam_get_le32(at + 32);
	footer->index_bytes = beam_get_le32(at + 36);
	footer->body_bytes = beam_get_le64(at + 40);
	footer->crc = beam_get_le64(at + 48);
	return 0;
}

void beam_chunk_footer_put(uint8_t *at, const struct beam_chunk_footer *footer)
{
	memcpy(at, BEAM_CHUNK_MAGIC, sizeof(footer->magic));
	beam_put_le64(at + 8, footer->gen.nonce);
	beam_put_le64(at + 16, footer->gen.counter);
	beam_put_le32(at + 24, footer->first_index);
	beam_put_le32(at + 28, footer->nsegments);
	beam_put_le32(at + 32, footer->nitems);
	beam_put_le32(at + 36, footer->index_bytes);
	beam_put_le64(at + 40, footer->body_bytes);
	beam_put_le64(at + 48, footer->crc);
}

int beam_manifest_footer_get(const uint8_t *at, struct beam_manifest_footer *footer)
{
	if (memcmp(at + 40, BEAM_MANIFEST_MAGIC, sizeof(footer->magic)) != 0)
		return BEAM_E_FORMAT;
	footer->nitems = beam_get_le64(at);
	footer->nexpired = beam_get_le64(at + 8);
	footer->nsegments = beam_get_le32(at + 16);
	footer->segment_bytes = beam_get_le32(at + 20);
	footer->gen.nonce = beam_get_le64(at + 24);
	footer->gen.counter = beam_get_le64(at + 32);
	memcpy(footer->magic, at + 40, sizeof(footer->magic));
	return 0;
}

void beam_manifest_footer_put(uint8_t *at, const struct beam_manifest_footer *footer)
{
	beam_put_le64(at, footer->nitems);
	beam_put_le64(at + 8, footer->nexpired);
	beam_put_le32(at + 16, footer->nsegments);
	beam_put_le32(at + 20, footer->segment_bytes);
	beam_put_le64(at + 24, footer->gen.nonce);
	beam_put_le64(at + 32, footer->gen.counter);
	memcpy(at + 40, BEAM_MANIFEST_MAGIC, sizeof(footer->magic));
}

int beam_chunk_footer_of(const struct beam_gen *gen, const uint8_t *end,
			 struct beam_chunk_footer *footer)
{
	int err = beam_chunk_footer_get(end - BEAM_CHUNK_FOOTER_BYTES, footer);

	return err || beam_gen_same(&footer->gen, gen) ? err : BEAM_E_FORMAT;
}

bool beam_is_last(const struct beam_gen *gen, const uint8_t *base, size_t len_bytes)
{
	const size_t tail = BEAM_MANIFEST_FOOTER_BYTES + BEAM_LAST_TAIL_BYTES;
	struct beam_manifest_footer footer;

	return len_bytes >= tail &&
	       beam_manifest_footer_get(base + len_bytes - tail, &footer) == 0 &&
	       beam_gen_same(&footer.gen, gen);
}

bool beam_chunk_padding(const struct beam_gen *gen, const uint8_t *end, uint32_t len_bytes,
			uint32_t *from, uint32_t *to)
{
	struct beam_chunk_footer f;

	if (beam_chunk_footer_of(gen, end, &f) || f.nsegments != 1)
		return false;
	uint64_t tail = (uint64_t)f.index_bytes + BEAM_CHUNK_FOOTER_BYTES;

	if (tail + BEAM_AUX_FIXED_BYTES >= len_bytes ||
	    f.body_bytes >= len_bytes - tail - BEAM_AUX_FIXED_BYTES)
		return false;
	*from = (uint32_t)f.body_bytes + BEAM_AUX_FIXED_BYTES;
	*to = len_bytes - (uint32_t)tail;
	return true;
}

/* Whether there is an AUX record of ours at `at` (empty key, 32-bit length) with a value of
 * value_bytes. The caller has checked that the fixed part lies inside. */
static bool is_own_aux(const uint8_t *at, uint64_t value_bytes)
{
	uint64_t stored =
	    (uint64_t)at[3] << 24 | (uint64_t)at[4] << 16 | (uint64_t)at[5] << 8 | at[6];

	return at[0] == BEAM_RDB_OP_AUX && at[1] == 0 && at[2] == 0x80 && stored == value_bytes;
}

/* Whether the footer's numbers are consistent with each other and with the chunk's length. */
static bool chunk_shape_ok(const struct beam_chunk_footer *f, const uint8_t *base, size_t len_bytes)
{
	uint64_t tail = (uint64_t)BEAM_CHUNK_TAIL_BYTES + f->index_bytes;

	if (f->nsegments == 0 || f->nsegments > BEAM_SEGMENTS_MAX || len_bytes % f->nsegments ||
	    f->first_index >= BEAM_SEGMENTS_MAX)
		return false;
	if (tail > len_bytes || f->body_bytes > len_bytes - tail)
		return false;
	/* Chunk 0 is the header and has no items; the body of other chunks is their items, or AUX
	 * data of modules. */
	if (f->nitems ? f->first_index == 0 || f->body_bytes == 0
		      : f->first_index && f->body_bytes && base[0] != BEAM_RDB_OP_MODULE_AUX)
		return false;
	if (f->nitems > f->index_bytes || (f->nitems == 0 && f->index_bytes != 0))
		return false;
	return is_own_aux(base + f->body_bytes, len_bytes - f->body_bytes - BEAM_AUX_FIXED_BYTES);
}

int beam_chunk_open(const uint8_t *base, size_t len_bytes, bool check_crc, struct beam_chunk *out)
{
	struct beam_chunk_footer footer;

	if (len_bytes < BEAM_CHUNK_TAIL_BYTES ||
	    beam_chunk_footer_get(base + len_bytes - BEAM_CHUNK_FOOTER_BYTES, &footer))
		return BEAM_E_FORMAT;
	/* The CRC is checked before the shape, so that a damaged chunk is reported as damaged. */
	if (check_crc && beam_crc64(0, base, len_bytes - CHUNK_CRC_BYTES) != footer.crc)
		return BEAM_E_CRC;
	if (!chunk_shape_ok(&footer, base, len_bytes))
		return BEAM_E_FORMAT;
	out->footer = footer;
	out->base = base;
	out->index = base + len_bytes - BEAM_CHUNK_FOOTER_BYTES - footer.index_bytes;
	return 0;
}

/* Reads [FE db] [FC ms] [F8 idle | F9 freq] and moves *pos to the type byte. */
static int get_item_opcodes(const uint8_t *buf, size_t len_bytes, size_t *pos,
			    struct beam_item *item, bool *has_db)
{
	uint64_t number;
	int err;

	*has_db = *pos < len_bytes && buf[*pos] == BEAM_RDB_OP_SELECTDB;
	if (*has_db) {
		*pos += 1;
		err = beam_rdb_get_number(buf, len_bytes, pos, &number);
		if (err)
			return err;
		if (number > INT32_MAX)
			return BEAM_E_FORMAT;
		item->db = (uint32_t)number;
	}
	if (*pos < len_bytes && buf[*pos] == BEAM_RDB_OP_EXPIRETIME_MS) {
		if (len_bytes - *pos < 9)
			return BEAM_E_TORN;
		item->expire_ms = (int64_t)beam_get_le64(buf + *pos + 1);
		*pos += 9;
	}
	if (*pos < len_bytes && buf[*pos] == BEAM_RDB_OP_IDLE) {
		*pos += 1;
		err = beam_rdb_get_number(buf, len_bytes, pos, &number);
		if (err)
			return err;
		if (number > INT64_MAX)
			return BEAM_E_FORMAT;
		item->idle_s = (int64_t)number;
	} else if (*pos < len_bytes && buf[*pos] == BEAM_RDB_OP_FREQ) {
		if (len_bytes - *pos < 2)
			return BEAM_E_TORN;
		item->freq = buf[*pos + 1];
		*pos += 2;
	}
	return 0;
}

/* Parses one item, which is exactly buf[0..len_bytes). */
static int parse_item(const uint8_t *buf, size_t len_bytes, bool needs_db, struct beam_item *item)
{
	struct beam_rdb_string key;
	size_t pos = 0;
	bool has_db;
	int err = get_item_opcodes(buf, len_bytes, &pos, item, &has_db);

	if (err)
		return err;
	if (needs_db && !has_db)
		return BEAM_E_FORMAT;
	if (pos >= len_bytes)
		return BEAM_E_TORN;
	item->type = buf[pos++];
	if (item->type >= BEAM_RDB_OP_SLOT_INFO)
		return BEAM_E_FORMAT;
	err = beam_rdb_get_string(buf, len_bytes, &pos, &key);
	if (err)
		return err;
	if (key.enc == BEAM_RDB_ENC_LZF)
		return BEAM_E_FORMAT;        /* our writer does not compress keys */
	beam_rdb_item_key(&key, NULL, item); /* neither raw bytes nor a number can fail */
	item->value = buf + pos;
	item->value_bytes = len_bytes - pos;
	return 0;
}

int beam_chunk_next(const struct beam_chunk *chunk, struct beam_chunk_cursor *cursor,
		    struct beam_item *item)
{
	const struct beam_chunk_footer *f = &chunk->footer;
	size_t index_pos = cursor->index_pos;
	uint64_t item_bytes;

	if (cursor->next >= f->nitems) {
		bool ends_meet =
		    cursor->index_pos == f->index_bytes && cursor->body_pos == f->body_bytes;

		return f->nitems == 0 || ends_meet ? 0 : BEAM_E_FORMAT;
	}
	int err = beam_get_varint(chunk->index, f->index_bytes, &index_pos, &item_bytes);

	if (err)
		return err;
	if (item_bytes > f->body_bytes - cursor->body_pos)
		return BEAM_E_FORMAT;
	memset(item, 0, sizeof(*item));
	item->db = cursor->db;
	item->expire_ms = -1;
	item->idle_s = -1;
	item->freq = -1;
	err =
	    parse_item(chunk->base + cursor->body_pos, (size_t)item_bytes, cursor->next == 0, item);
	if (err)
		return err;
	cursor->next++;
	cursor->index_pos = index_pos;
	cursor->body_pos += (size_t)item_bytes;
	cursor->db = item->db;
	return 1;
}

/* The chunk ends with a footer of this image that gives this beginning and length. */
int beam_chunk_find(const struct beam_gen *gen, const uint8_t *base, uint32_t nsegments,
		    uint32_t segment_bytes, uint32_t first, struct beam_chunk *out)
{
	const uint8_t *at = base + (size_t)first * segment_bytes;

	for (uint32_t n = 1; n <= nsegments - first; n++) {
		size_t len = (size_t)n * segment_bytes;
		struct beam_chunk_footer footer;

		if (beam_chunk_footer_of(gen, at + len, &footer) == 0 &&
		    footer.first_index == first && footer.nsegments == n)
			return beam_chunk_open(at, len, true, out);
	}
	return BEAM_E_FORMAT;
}

int beam_manifest_parse(const uint8_t *base, size_t len_bytes, struct beam_manifest *out)
{
	const size_t fixed =
	    BEAM_AUX_FIXED_BYTES + BEAM_MANIFEST_FOOTER_BYTES + BEAM_LAST_TAIL_BYTES;
	struct beam_manifest_footer f;

	if (len_bytes < fixed || base[len_bytes - BEAM_LAST_TAIL_BYTES] != BEAM_RDB_OP_EOF)
		return BEAM_E_FORMAT;
	const uint8_t *footer_at =
	    base + len_bytes - BEAM_LAST_TAIL_BYTES - BEAM_MANIFEST_FOOTER_BYTES;

	if (beam_manifest_footer_get(footer_at, &f))
		return BEAM_E_FORMAT;
	if (f.nsegments < 2 || f.nsegments > BEAM_SEGMENTS_MAX || f.segment_bytes == 0 ||
	    f.segment_bytes % BEAM_SEGMENT_ALIGN || f.segment_bytes > BEAM_SEGMENT_MAX)
		return BEAM_E_FORMAT;
	if (len_bytes > f.segment_bytes || len_bytes != fixed + 8u * (size_t)(f.nsegments - 1))
		return BEAM_E_FORMAT;
	if (!is_own_aux(base, len_bytes - BEAM_AUX_FIXED_BYTES - BEAM_LAST_TAIL_BYTES))
		return BEAM_E_FORMAT;
	out->footer = f;
	out->crcs = base + BEAM_AUX_FIXED_BYTES;
	out->file_crc = beam_get_le64(base + len_bytes - 8);
	return 0;
}

/* The file's CRC as the manifest's numbers give it; only the last segment is read. */
static uint64_t manifest_file_crc(const struct beam_manifest *m, const uint8_t *base,
				  size_t len_bytes)
{
	struct beam_crc64_shift by_segment, by_last;
	uint64_t crc = 0;

	beam_crc64_shift_init(&by_segment, m->footer.segment_bytes);
	beam_crc64_shift_init(&by_last, len_bytes - 8);
	for (uint32_t i = 0; i + 1 < m->footer.nsegments; i++)
		crc = beam_crc64_append(crc, beam_get_le64(m->crcs + 8 * (size_t)i), &by_segment);
	return beam_crc64_append(crc, beam_crc64(0, base, len_bytes - 8), &by_last);
}

int beam_manifest_open(const uint8_t *base, size_t len_bytes, struct beam_manifest *out)
{
	struct beam_manifest manifest;
	int err = beam_manifest_parse(base, len_bytes, &manifest);

	if (err)
		return err;
	if (manifest_file_crc(&manifest, base, len_bytes) != manifest.file_crc)
		return BEAM_E_CRC;
	*out = manifest;
	return 0;
}
