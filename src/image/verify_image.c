/* SPDX-License-Identifier: BSD-3-Clause
 * beam_verify for images, in one pass. Each segment's CRC is computed, and those of chunks and file
 * are combined from these. When a chunk is complete its records are walked while they are in the
 * cache. A damaged segment costs the chunk it belongs to and no other: the next chunk is found by
 * its footer, at the end of a segment. */
#include <inttypes.h>
#include <string.h>

#include "crc64.h"
#include "rdbeam/error.h"
#include "verify.h"

#define CRC_BYTES 8

struct image_walk {
	struct beam_verify_run *run;
	const struct beam_manifest *manifest;
	size_t segment_bytes;
	struct beam_crc64_shift by_segment, by_head; /* a segment; one without its last 8 bytes */
	uint64_t file_crc;
	uint32_t first;     /* segment after the end of the last chunk */
	uint64_t chunk_crc; /* of the segments from there on */
	bool lost;          /* a chunk could not be read: do not compare counts */
};

static uint64_t offset_of(const struct image_walk *w, uint32_t segment)
{
	return (uint64_t)segment * w->segment_bytes;
}

static void tell_gap(struct image_walk *w, uint32_t end)
{
	w->lost = true;
	beam_verify_tell(w->run, BEAM_E_FORMAT, offset_of(w, w->first),
			 "segments %" PRIu32 " to %" PRIu32
			 " hold no chunk that can be found: their keys were not checked",
			 w->first, end - 1);
}

/* Checks the value of one item. The index tells where the next item is, whatever is found here. */
static void check_value(struct image_walk *w, const struct beam_item *item)
{
	size_t pos = 0;
	int err = beam_rdb_skip_value(item->value, item->value_bytes, &pos, item->type);

	if (err == BEAM_E_UNSUPPORTED)
		return; /* a newer server's type: the index is enough */
	if (!err && pos == item->value_bytes)
		return;
	beam_verify_tell(w->run, err ? err : BEAM_E_FORMAT, (uint64_t)(item->value - w->run->base),
			 "value of type %u does not have the length that the index gives it (%zu "
			 "bytes)",
			 item->type, item->value_bytes);
}

static void walk_items(struct image_walk *w, const struct beam_chunk *chunk)
{
	struct beam_chunk_cursor cursor = {0};
	struct beam_item item;
	int more = 0;

	while (!w->run->stopped && (more = beam_chunk_next(chunk, &cursor, &item)) == 1) {
		beam_verify_book_key(w->run, &item);
		check_value(w, &item);
	}
	if (more >= 0)
		return;
	w->lost = true;
	beam_verify_tell(w->run, more, (uint64_t)(chunk->base - w->run->base) + cursor.body_pos,
			 "item %" PRIu32 " of %" PRIu32 " of the chunk at segment %" PRIu32
			 " does not agree with the chunk's index",
			 cursor.next, chunk->footer.nitems, chunk->footer.first_index);
}

/* Walks the records of a chunk without items, which are everything but keys. */
static void walk_records(struct image_walk *w, const struct beam_chunk *chunk, size_t pos)
{
	struct beam_rdb_record record = {0};
	size_t body_bytes = (size_t)chunk->footer.body_bytes;
	size_t begin = (size_t)(chunk->base - w->run->base);

	while (!w->run->stopped && pos < body_bytes) {
		size_t at = pos;
		int err = beam_rdb_next_record(chunk->base, body_bytes, &pos, &record);

		if (err) {
			beam_verify_tell_record(w->run, err, begin + at, &record);
			return;
		}
		if (record.kind == BEAM_RDB_IS_KEY || record.kind == BEAM_RDB_IS_END) {
			beam_verify_tell(w->run, BEAM_E_FORMAT, begin + at,
					 "a chunk without items holds a key or the end mark");
			return;
		}
		beam_verify_book_record(w->run, &record);
	}
}

/* Padding must be zero: what was in the slot before must not get into an image. */
static void check_padding(struct image_walk *w, const struct beam_chunk *chunk)
{
	const uint8_t *at = chunk->base + chunk->footer.body_bytes + BEAM_AUX_FIXED_BYTES;
	size_t n = (size_t)(chunk->index - at);

	if (n && (at[0] || memcmp(at, at + 1, n - 1) != 0))
		beam_verify_tell(w->run, BEAM_E_FORMAT, (uint64_t)(at - w->run->base),
				 "the padding before a chunk's index is not zero");
}

/* Checks a chunk that ends with segment `last`. `crc` is its CRC if it begins at w->first. */
static void take_chunk(struct image_walk *w, const struct beam_chunk_footer *footer, uint32_t last,
		       uint64_t crc)
{
	const uint8_t *base = w->run->base + offset_of(w, footer->first_index);
	size_t len_bytes = (size_t)offset_of(w, footer->nsegments);
	struct beam_chunk chunk;
	bool in_place = footer->first_index == w->first;
	int err = in_place && crc != footer->crc ? BEAM_E_CRC : 0;

	if (footer->first_index > w->first)
		tell_gap(w, footer->first_index);
	else if (!in_place)
		err = BEAM_E_FORMAT; /* it claims segments of the chunk before */
	if (!err)
		err = beam_chunk_open(base, len_bytes, !in_place, &chunk);
	if (err) {
		w->lost = true;
		beam_verify_tell(w->run, err, offset_of(w, footer->first_index),
				 "the chunk of segments %" PRIu32 " to %" PRIu32
				 " is damaged: its keys were not checked",
				 footer->first_index, last);
		return;
	}
	check_padding(w, &chunk);
	if (footer->nitems)
		walk_items(w, &chunk);
	else if (footer->first_index)
		walk_records(w, &chunk, 0);
	else if (beam_verify_magic(w->run))
		walk_records(w, &chunk, BEAM_RDB_MAGIC_BYTES);
}

/* Whether a chunk of this image ends with the segment. */
static bool chunk_ends(const struct image_walk *w, uint32_t segment, const uint8_t *segment_end,
		       struct beam_chunk_footer *footer)
{
	return beam_chunk_footer_of(&w->manifest->footer.gen, segment_end, footer) == 0 &&
	       footer->nsegments > 0 &&
	       (uint64_t)footer->first_index + footer->nsegments == (uint64_t)segment + 1;
}

static void take_segment(struct image_walk *w, uint32_t segment)
{
	const uint8_t *base = w->run->base + offset_of(w, segment);
	uint64_t stored = beam_get_le64(w->manifest->crcs + 8 * (size_t)segment);
	struct beam_chunk_footer footer;
	/* The chunk's CRC does not cover the last 8 bytes, which hold it. */
	uint64_t head_crc = beam_crc64(0, base, w->segment_bytes - CRC_BYTES);
	uint64_t crc = beam_crc64(head_crc, base + w->segment_bytes - CRC_BYTES, CRC_BYTES);

	w->file_crc = beam_crc64_append(w->file_crc, crc, &w->by_segment);
	if (crc != stored) {
		w->run->report->segments_bad++;
		beam_verify_tell(w->run, BEAM_E_CRC, offset_of(w, segment),
				 "segment %" PRIu32 ": CRC64 is %016" PRIx64
				 ", the manifest says %016" PRIx64,
				 segment, crc, stored);
	}
	if (chunk_ends(w, segment, base + w->segment_bytes, &footer)) {
		take_chunk(w, &footer, segment,
			   beam_crc64_append(w->chunk_crc, head_crc, &w->by_head));
		w->first = segment + 1;
		w->chunk_crc = 0;
	} else {
		w->chunk_crc = beam_crc64_append(w->chunk_crc, crc, &w->by_segment);
	}
}

static void check_file(struct image_walk *w)
{
	const struct beam_manifest *m = w->manifest;
	struct beam_verify_run *run = w->run;
	const uint8_t *last = run->base + offset_of(w, m->footer.nsegments - 1);
	size_t covered = (size_t)(run->base + run->len_bytes - last) - CRC_BYTES;
	uint64_t crc = beam_crc64(w->file_crc, last, covered);

	run->report->crc_ok = crc == m->file_crc;
	if (!run->report->crc_ok)
		beam_verify_tell(run, BEAM_E_CRC, run->len_bytes - CRC_BYTES,
				 "CRC64 of the file is %016" PRIx64 ", its trailer says %016" PRIx64
				 ": damaged",
				 crc, m->file_crc);
	if (!w->lost && run->report->keys != m->footer.nitems)
		beam_verify_tell(run, BEAM_E_COUNT, run->len_bytes,
				 "%" PRIu64 " keys found, the manifest says %" PRIu64,
				 run->report->keys, m->footer.nitems);
}

void beam_verify_image(struct beam_verify_run *run, const struct beam_manifest *manifest)
{
	struct image_walk w = {
	    .run = run,
	    .manifest = manifest,
	    .segment_bytes = manifest->footer.segment_bytes,
	};
	uint32_t full = manifest->footer.nsegments - 1;

	run->report->segment_bytes = manifest->footer.segment_bytes;
	run->report->nsegments = manifest->footer.nsegments;
	run->report->gen = manifest->footer.gen;
	run->report->nexpired = manifest->footer.nexpired;
	beam_crc64_shift_init(&w.by_segment, w.segment_bytes);
	beam_crc64_shift_init(&w.by_head, w.segment_bytes - CRC_BYTES);
	for (uint32_t i = 0; i < full && !run->stopped; i++)
		take_segment(&w, i);
	if (run->stopped)
		return;
	if (w.first < full)
		tell_gap(&w, full);
	if (!run->stopped)
		check_file(&w);
}
