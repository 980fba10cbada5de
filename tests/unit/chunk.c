/* SPDX-License-Identifier: BSD-3-Clause
 * Chunks: what is read from valid ones; damaged and hostile ones are refused. */
#include <stdlib.h>
#include <string.h>

#include "image_build.h"
#include "load_share.h"
#include "rdbeam/error.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CHUNK_BYTES 1024

static const struct beam_gen gen = {0x1122334455667788, 9};

#define ITEM(items, bytes) build_item(items, bytes, sizeof(bytes) - 1)

/* Items that together use every opcode that may precede a key. */
static void build_sample(uint8_t *base, struct build_items *items)
{
	struct build_chunk chunk = {.first_index = 3, .nsegments = 1};

	memset(items, 0, sizeof(*items));
	memset(base, 0, CHUNK_BYTES);
	ITEM(items, "\xfe\x02\x00\x03key\x05value");
	ITEM(items, "\xfc\x01\x00\x00\x00\x00\x00\x00\x00\x00\x03two\x01x");
	ITEM(items, "\xf8\x40\x80\x00\xc1\x39\x30\x01y");
	ITEM(items, "\xfe\x41\x00\xf9\xff\x00\xc2\x00\x00\x00\x80\x01z");
	ITEM(items, "\x63\x00tomorrow's type");
	chunk.body = items->body;
	chunk.body_bytes = items->body_bytes;
	chunk.index = items->index;
	chunk.index_bytes = items->index_bytes;
	chunk.nitems = items->nitems;
	build_chunk(base, CHUNK_BYTES, &gen, &chunk);
}

/* Walks all items. Returns their number, or the error. */
static int walk(const struct beam_chunk *chunk)
{
	struct beam_chunk_cursor cursor = {0};
	struct beam_item item;
	int n = 0, more;

	while ((more = beam_chunk_next(chunk, &cursor, &item)) == 1)
		n++;
	return more ? more : n;
}

static int open_and_walk(const uint8_t *base, bool check_crc)
{
	struct beam_chunk chunk;
	int err = beam_chunk_open(base, CHUNK_BYTES, check_crc, &chunk);

	return err ? err : walk(&chunk);
}

static void test_items_are_read_back(void **state)
{
	uint8_t base[CHUNK_BYTES];
	struct build_items items;
	struct beam_chunk chunk;
	struct beam_chunk_cursor cursor = {0};
	struct beam_item item;

	(void)state;
	build_sample(base, &items);
	assert_int_equal(beam_chunk_open(base, sizeof(base), true, &chunk), 0);
	assert_int_equal(chunk.footer.gen.nonce, gen.nonce);
	assert_int_equal(chunk.footer.gen.counter, gen.counter);
	assert_int_equal(chunk.footer.first_index, 3);
	assert_int_equal(chunk.footer.nitems, 5);

	assert_int_equal(beam_chunk_next(&chunk, &cursor, &item), 1);
	assert_int_equal(item.db, 2);
	assert_int_equal(item.expire_ms, -1);
	assert_int_equal(item.type, BEAM_RDB_STRING);
	assert_int_equal(item.key_bytes, 3);
	assert_memory_equal(item.key, "key", 3);
	assert_int_equal(item.value_bytes, 6);
	assert_memory_equal(item.value, "\x05value", 6);

	assert_int_equal(beam_chunk_next(&chunk, &cursor, &item), 1);
	assert_int_equal(item.db, 2);
	assert_int_equal(item.expire_ms, 1);
	assert_int_equal(item.idle_s, -1);

	assert_int_equal(beam_chunk_next(&chunk, &cursor, &item), 1);
	assert_int_equal(item.idle_s, 0x80);
	assert_int_equal(item.freq, -1);
	assert_null(item.key);
	assert_string_equal(item.key_text, "12345");
	assert_int_equal(item.key_bytes, 5);

	assert_int_equal(beam_chunk_next(&chunk, &cursor, &item), 1);
	assert_int_equal(item.db, 256);
	assert_int_equal(item.freq, 255);
	assert_string_equal(item.key_text, "-2147483648");

	assert_int_equal(beam_chunk_next(&chunk, &cursor, &item), 1);
	assert_int_equal(item.db, 256);
	assert_int_equal(item.type, 0x63);
	assert_int_equal(item.key_bytes, 0);
	assert_int_equal(item.value_bytes, 15);

	assert_int_equal(beam_chunk_next(&chunk, &cursor, &item), 0);
	assert_int_equal(beam_chunk_next(&chunk, &cursor, &item), 0);
}

static void test_every_flipped_bit_is_caught(void **state)
{
	uint8_t base[CHUNK_BYTES];
	struct build_items items;

	(void)state;
	build_sample(base, &items);
	assert_int_equal(open_and_walk(base, true), 5);
	for (size_t bit = 0; bit < 8 * sizeof(base); bit++) {
		base[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_true(open_and_walk(base, true) < 0);
		base[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(open_and_walk(base, true), 5);
}

/* The same with the CRC corrected: the shape itself must be checked. Bits of the AUX header, the
 * sizes and the counts make the chunk unreadable; generation, place and payload may be anything. */
static void test_every_flipped_shape_bit_is_caught_by_the_shape(void **state)
{
	uint8_t base[CHUNK_BYTES], good[CHUNK_BYTES];
	struct build_items items;
	const size_t footer = CHUNK_BYTES - BEAM_CHUNK_FOOTER_BYTES;

	(void)state;
	build_sample(good, &items);
	for (size_t bit = 0; bit < 8 * sizeof(base); bit++) {
		size_t byte = bit / 8;
		bool is_shape =
		    (byte >= items.body_bytes && byte < items.body_bytes + BEAM_AUX_FIXED_BYTES) ||
		    (byte >= footer && byte < footer + 8) ||
		    (byte >= footer + 32 && byte < footer + 48) ||
		    (byte >= footer - items.index_bytes && byte < footer);

		if (!is_shape)
			continue;
		memcpy(base, good, sizeof(base));
		base[byte] ^= (uint8_t)(1u << bit % 8);
		build_chunk_crc(base, sizeof(base));
		assert_true(open_and_walk(base, true) < 0);
	}
}

static void test_every_cut_is_caught(void **state)
{
	uint8_t base[CHUNK_BYTES];
	struct build_items items;
	struct beam_chunk chunk;

	(void)state;
	build_sample(base, &items);
	for (size_t len = 0; len < sizeof(base); len++) {
		/* A copy of exactly that length, so that sanitizers catch reads past it. */
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, base, len);
		assert_true(beam_chunk_open(copy, len, false, &chunk) < 0);
		free(copy);
	}
}

/* A chunk of one item, given by its bytes, with a correct CRC. */
static int one_item(const void *bytes, size_t len_bytes)
{
	uint8_t base[CHUNK_BYTES] = {0};
	struct build_items items = {0};
	struct build_chunk chunk = {.first_index = 1, .nsegments = 1, .nitems = 1};

	build_item(&items, bytes, len_bytes);
	chunk.body = items.body;
	chunk.body_bytes = items.body_bytes;
	chunk.index = items.index;
	chunk.index_bytes = items.index_bytes;
	build_chunk(base, sizeof(base), &gen, &chunk);
	return open_and_walk(base, true);
}
#define ONE_ITEM(bytes) one_item(bytes, sizeof(bytes) - 1)

static void test_hostile_items_are_refused(void **state)
{
	(void)state;
	assert_int_equal(ONE_ITEM("\xfe\x00\x00\x01k\x01v"), 1);
	/* The chunk's first item names no database. */
	assert_int_equal(ONE_ITEM("\x00\x01k\x01v"), BEAM_E_FORMAT);
	/* Keys with lengths that reach past the item, up to 2^64 - 1. */
	assert_int_equal(ONE_ITEM("\xfe\x00\x00\x7f\xff"), BEAM_E_TORN);
	assert_int_equal(ONE_ITEM("\xfe\x00\x00\x80\xff\xff\xff\xffk"), BEAM_E_TORN);
	assert_int_equal(ONE_ITEM("\xfe\x00\x00\x81\xff\xff\xff\xff\xff\xff\xff\xffk"),
			 BEAM_E_TORN);
	/* Length forms that do not exist. */
	assert_int_equal(ONE_ITEM("\xfe\x00\x00\x82\x00\x00\x00\x01k"), BEAM_E_FORMAT);
	assert_int_equal(ONE_ITEM("\xfe\x00\x00\xc7k"), BEAM_E_FORMAT);
	/* A compressed key, a database above INT_MAX, an encoded database number. */
	assert_int_equal(ONE_ITEM("\xfe\x00\x00\xc3\x02\x01\x00k"), BEAM_E_FORMAT);
	assert_int_equal(ONE_ITEM("\xfe\x80\x80\x00\x00\x00\x00\x01k\x01v"), BEAM_E_FORMAT);
	assert_int_equal(ONE_ITEM("\xfe\xc0\x01\x00\x01k\x01v"), BEAM_E_FORMAT);
	/* Opcodes in place of a type, in the wrong order, and twice. */
	assert_int_equal(ONE_ITEM("\xfe\x00\xff\x01k\x01v"), BEAM_E_FORMAT);
	assert_int_equal(ONE_ITEM("\xfe\x00\xf9\x01\xf8\x01\x00\x01k\x01v"), BEAM_E_FORMAT);
	assert_int_equal(ONE_ITEM("\xfe\x00\xfe\x00\x00\x01k\x01v"), BEAM_E_FORMAT);
	/* Items that end early. */
	assert_int_equal(ONE_ITEM(""), BEAM_E_FORMAT);
	assert_int_equal(ONE_ITEM("\xfe"), BEAM_E_TORN);
	assert_int_equal(ONE_ITEM("\xfe\x00"), BEAM_E_TORN);
	assert_int_equal(ONE_ITEM("\xfe\x00\x00"), BEAM_E_TORN);
	assert_int_equal(ONE_ITEM("\xfe\x00\xfc\x00\x00\x00"), BEAM_E_TORN);
	assert_int_equal(ONE_ITEM("\xfe\x00\xf9"), BEAM_E_TORN);
	assert_int_equal(ONE_ITEM("\xfe\x00\xf8"), BEAM_E_TORN);
}

/* Footers with numbers that do not fit the bytes; everything else is correct, including the CRC. */
static void test_hostile_footers_are_refused(void **state)
{
	uint8_t good[CHUNK_BYTES], base[CHUNK_BYTES];
	struct build_items items;
	const size_t at = CHUNK_BYTES - BEAM_CHUNK_FOOTER_BYTES;
	const struct {
		size_t offset, bytes;
		uint64_t value;
	} cases[] = {
	    {24, 4, 0},
	    {24, 4, BEAM_SEGMENTS_MAX},
	    {24, 4, UINT32_MAX},
	    {28, 4, 0},
	    {28, 4, 3},
	    {28, 4, UINT32_MAX},
	    {32, 4, 0},
	    {32, 4, 4},
	    {32, 4, 6},
	    {32, 4, UINT32_MAX},
	    {36, 4, 0},
	    {36, 4, UINT32_MAX},
	    {36, 4, 1024},
	    {40, 8, 0},
	    {40, 8, 1},
	    {40, 8, UINT64_MAX},
	    {40, 8, UINT64_MAX - 7},
	    {40, 8, CHUNK_BYTES},
	    {40, 8, INT64_MAX},
	    {40, 8, (uint64_t)1 << 63},
	};

	(void)state;
	build_sample(good, &items);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(base, good, sizeof(base));
		if (cases[i].bytes == 4)
			beam_put_le32(base + at + cases[i].offset, (uint32_t)cases[i].value);
		else
			beam_put_le64(base + at + cases[i].offset, cases[i].value);
		build_chunk_crc(base, sizeof(base));
		assert_true(open_and_walk(base, true) < 0);
		assert_true(open_and_walk(base, false) < 0);
	}
}

static void test_index_that_overruns_the_body_is_refused(void **state)
{
	uint8_t base[CHUNK_BYTES] = {0};
	struct build_items items = {0};
	struct build_chunk chunk = {.first_index = 1, .nsegments = 1, .nitems = 1};

	(void)state;
	ITEM(&items, "\xfe\x00\x00\x01k\x01v");
	items.index[0] = 8; /* one byte more than there is */
	chunk.body = items.body;
	chunk.body_bytes = items.body_bytes;
	chunk.index = items.index;
	chunk.index_bytes = 1;
	build_chunk(base, sizeof(base), &gen, &chunk);
	assert_int_equal(open_and_walk(base, true), BEAM_E_FORMAT);

	/* A number of 2^64 - 1, and one that never ends. */
	memset(base, 0, sizeof(base));
	memset(items.index, 0xff, 10);
	items.index[9] = 1;
	chunk.index_bytes = 10;
	build_chunk(base, sizeof(base), &gen, &chunk);
	assert_int_equal(open_and_walk(base, true), BEAM_E_FORMAT);
	memset(base, 0, sizeof(base));
	items.index[9] = 0xff;
	build_chunk(base, sizeof(base), &gen, &chunk);
	assert_true(open_and_walk(base, true) < 0);
}

static void test_empty_and_header_chunks(void **state)
{
	uint8_t base[CHUNK_BYTES] = {0};
	struct build_chunk chunk = {.first_index = 7, .nsegments = 1};

	(void)state;
	build_chunk(base, sizeof(base), &gen, &chunk);
	assert_int_equal(open_and_walk(base, true), 0);

	/* Only chunk 0, which must not have items, and AUX data of modules may have a body without
	 * items. */
	memset(base, 0, sizeof(base));
	chunk.body = (const uint8_t *)"REDIS0010";
	chunk.body_bytes = 9;
	build_chunk(base, sizeof(base), &gen, &chunk);
	assert_int_equal(open_and_walk(base, true), BEAM_E_FORMAT);
	memset(base, 0, sizeof(base));
	chunk.body = (const uint8_t *)"\xf7\x01\x02\x02\x02\x07\x00";
	chunk.body_bytes = 7;
	build_chunk(base, sizeof(base), &gen, &chunk);
	assert_int_equal(open_and_walk(base, true), 0);
	memset(base, 0, sizeof(base));
	chunk.body = (const uint8_t *)"REDIS0010";
	chunk.body_bytes = 9;
	chunk.first_index = 0;
	build_chunk(base, sizeof(base), &gen, &chunk);
	assert_int_equal(open_and_walk(base, true), 0);
}

static void test_smallest_chunk_has_no_padding(void **state)
{
	uint8_t base[BEAM_CHUNK_TAIL_BYTES] = {0};
	struct build_chunk empty = {.first_index = 2, .nsegments = 1};
	struct beam_chunk chunk;

	(void)state;
	build_chunk(base, sizeof(base), &gen, &empty);
	assert_int_equal(beam_chunk_open(base, sizeof(base), true, &chunk), 0);
	assert_ptr_equal(chunk.index, base + BEAM_AUX_FIXED_BYTES);
}

/* A replica's module takes its share of values of 100 bytes, but not of counters. */
static void test_chunks_worth_sharing(void **state)
{
	struct beam_chunk_footer footer = {.nitems = 1000, .body_bytes = 1000 * 115};

	(void)state;
	assert_true(beam_load_worth(&footer));
	footer.body_bytes = 1000 * 20;
	assert_false(beam_load_worth(&footer));
	footer.nitems = 0;
	assert_false(beam_load_worth(&footer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_items_are_read_back),
	    cmocka_unit_test(test_every_flipped_bit_is_caught),
	    cmocka_unit_test(test_every_flipped_shape_bit_is_caught_by_the_shape),
	    cmocka_unit_test(test_every_cut_is_caught),
	    cmocka_unit_test(test_hostile_items_are_refused),
	    cmocka_unit_test(test_hostile_footers_are_refused),
	    cmocka_unit_test(test_index_that_overruns_the_body_is_refused),
	    cmocka_unit_test(test_empty_and_header_chunks),
	    cmocka_unit_test(test_smallest_chunk_has_no_padding),
	    cmocka_unit_test(test_chunks_worth_sharing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
