/* SPDX-License-Identifier: BSD-3-Clause */
#include "marked_image.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include "image_writer.h"
#include "rdb.h"
#include "rdbeam/error.h"

#define VALUE_WORDS 8192u

/* Neighbouring words and neighbouring generations have nothing in common. */
static uint64_t mark(uint64_t counter, uint32_t key, uint32_t word)
{
	uint64_t z = (counter << 24 | (uint64_t)key << 16 | word) * 0x9e3779b97f4a7c15;

	z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9;
	return z ^ z >> 32;
}

static int put_key(struct beam_image_writer *writer, uint64_t counter, uint32_t key)
{
	static uint64_t value[VALUE_WORDS];
	uint8_t head[64];
	size_t n = 0;

	for (uint32_t i = 0; i < VALUE_WORDS; i++)
		value[i] = mark(counter, key, i);
	head[n++] = BEAM_RDB_STRING;
	n += beam_rdb_put_len(head + n, 10);
	n += (size_t)snprintf((char *)head + n, 11, "key:%06u", key);
	n += beam_rdb_put_len(head + n, sizeof(value));
	return beam_image_writer_put(writer, 0, head, n, value, sizeof(value));
}

int marked_write(const struct beam_segment_source *source, struct beam_image_totals *totals,
		 void (*before_seal)(void *arg, uint32_t nsegments), void *arg)
{
	struct beam_image_db_size db = {.keys = MARKED_KEYS};
	struct beam_image_header header = {.rdb_version = 10, .dbs = &db, .ndbs = 1};
	struct beam_image_writer *writer = NULL;
	int err = beam_image_write_header(source, &header);

	if (!err)
		err = beam_image_writer_open(source, NULL, &writer);
	for (uint32_t key = 0; !err && key < MARKED_KEYS; key++)
		err = put_key(writer, source->gen.counter, key);
	if (!err)
		err = beam_image_writer_flush(writer);
	beam_image_writer_close(&writer);
	*totals = (struct beam_image_totals){.nitems = MARKED_KEYS};
	return err ? err : beam_image_write_last(source, totals, before_seal, arg);
}

/* ---- a source over plain memory ------------------------------------------------------------- */

static int claim(void *ctx, uint32_t count, uint32_t *first)
{
	struct marked_copy *copy = ctx;

	*first = copy->nsegments;
	copy->nsegments += count;
	return 0;
}

static int unclaim(void *ctx, uint32_t first, uint32_t count)
{
	struct marked_copy *copy = ctx;

	if (first + count != copy->nsegments)
		return -EBUSY;
	copy->nsegments = first;
	return 0;
}

static bool has_slot(void *ctx, uint32_t index)
{
	(void)ctx;
	return index < MARKED_SEGMENTS;
}

static int slot(void *ctx, uint32_t index, uint8_t **base)
{
	struct marked_copy *copy = ctx;

	if (index >= MARKED_SEGMENTS)
		return BEAM_E_FULL;
	*base = copy->bytes + (size_t)index * copy->segment_bytes;
	return 0;
}

static int seal(void *ctx, uint32_t index, uint32_t len_bytes, uint64_t crc)
{
	struct marked_copy *copy = ctx;

	copy->len_bytes[index] = len_bytes;
	copy->crcs[index] = crc;
	return 0;
}

static int crcs(void *ctx, uint32_t count, uint64_t *out)
{
	const struct marked_copy *copy = ctx;

	for (uint32_t i = 0; i < count; i++)
		out[i] = copy->crcs[i];
	return 0;
}

int marked_copy_make(struct marked_copy *copy, const struct beam_gen *gen)
{
	struct beam_segment_source source = {.ctx = copy,
					     .segment_bytes = copy->segment_bytes,
					     .gen = *gen,
					     .claim = claim,
					     .unclaim = unclaim,
					     .has_slot = has_slot,
					     .slot = slot,
					     .seal = seal,
					     .crcs = crcs};
	struct beam_image_totals totals;

	copy->gen = *gen;
	copy->nsegments = 0;
	return marked_write(&source, &totals, NULL, NULL);
}
