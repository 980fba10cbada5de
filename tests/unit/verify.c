/* SPDX-License-Identifier: BSD-3-Clause
 * beam_verify: an image laid out by hand, and dumps of real servers, pass with the right counts.
 * Damage is reported, and what can still be read is read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc64.h"
#include "image_build.h"
#include "rdbeam/error.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEGMENT    (2u << 20)
#define NFULL      5
#define IMAGE_SIZE ((size_t)NFULL * SEGMENT + 7 + NFULL * 8 + 48 + 9)

static const struct beam_gen gen = {0xfeedfacecafebeef, 41};
static uint8_t *image; /* header | one chunk | one chunk of two segments | one chunk | last */

#define ITEM(items, bytes) build_item(items, bytes, sizeof(bytes) - 1)

/* Problems reported by one run. */
struct told {
	int codes[64];
	uint64_t offsets[64];
	unsigned n, stop_after;
};

static int note(void *arg, int code, uint64_t offset, const char *text)
{
	struct told *told = arg;

	assert_true(strlen(text) > 10);
	assert_true(told->n < 64);
	told->codes[told->n] = code;
	told->offsets[told->n++] = offset;
	return told->n == told->stop_after;
}

static bool was_told(const struct told *told, int code, uint64_t offset)
{
	for (unsigned i = 0; i < told->n; i++)
		if (told->codes[i] == code && told->offsets[i] == offset)
			return true;
	return false;
}

static void put_chunk(uint32_t first, uint32_t nsegments, const struct build_items *items)
{
	struct build_chunk chunk = {
	    .body = items->body,
	    .body_bytes = items->body_bytes,
	    .index = items->index,
	    .index_bytes = items->index_bytes,
	    .nitems = items->nitems,
	    .first_index = first,
	    .nsegments = nsegments,
	};

	build_chunk(image + (size_t)first * SEGMENT, (size_t)nsegments * SEGMENT, &gen, &chunk);
}

static void build_image(void)
{
	struct build_items items = {0};

	memset(image, 0, IMAGE_SIZE);
	ITEM(&items, "REDIS0011"
		     "\xfa\x09redis-ver\x06"
		     "7.2.99\xfa\x0erdbeam-version\xc0\x01"
		     "\xfa\x07repl-id\x28"
		     "0123456789abcdef0123456789abcdef01234567"
		     "\xfa\x0brepl-offset\xc2\x40\xe2\x01\x00"
		     "\xf5\x04"
		     "code\xfe\x00\xfb\x05\x01\xfe\x07\xfb\x01\x00");
	items.index_bytes = items.nitems = 0; /* the header has no index */
	put_chunk(0, 1, &items);

	memset(&items, 0, sizeof(items));
	ITEM(&items, "\xfe\x00\x00\x01k\x01v");
	ITEM(&items, "\xfc\x01\x02\x03\x04\x05\x00\x00\x00\x01\x04list\x01\x01x");
	put_chunk(1, 1, &items);

	memset(&items, 0, sizeof(items));
	ITEM(&items, "\xfe\x00\x02\x03set\x01\x01x");
	ITEM(&items, "\xfe\x07\x63\x03new\x01\x02\x03");
	put_chunk(2, 2, &items);

	memset(&items, 0, sizeof(items));
	ITEM(&items, "\xfe\x00\x04\x04hash\x01\x01x\x01y");
	ITEM(&items, "\x05\x04zset\x01\x01x\x00\x00\x00\x00\x00\x00\x00\x00");
	put_chunk(4, 1, &items);
	build_last(image, NFULL, SEGMENT, &gen, 6);
}

static int verify(struct told *told, struct beam_verify_report *report)
{
	unsigned stop_after = told->stop_after;

	memset(told, 0, sizeof(*told));
	told->stop_after = stop_after;
	return beam_verify(image, IMAGE_SIZE, note, told, report);
}

static void test_good_image(void **state)
{
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	build_image();
	assert_int_equal(verify(&told, &report), 0);
	assert_int_equal(told.n, 0);
	assert_int_equal(report.problems, 0);
	assert_true(report.is_image);
	assert_true(report.crc_ok);
	assert_false(report.crc_absent);
	assert_int_equal(report.rdb_version, 11);
	assert_int_equal(report.segment_bytes, SEGMENT);
	assert_int_equal(report.nsegments, NFULL + 1);
	assert_int_equal(report.gen.nonce, gen.nonce);
	assert_int_equal(report.keys, 6);
	assert_int_equal(report.expires, 1);
	assert_int_equal(report.functions, 1);
	assert_int_equal(report.ndbs, 2);
	assert_int_equal(report.file_bytes, IMAGE_SIZE);
	/* string list set zset hash stream module array other functions */
	const uint64_t by_type[] = {1, 1, 1, 1, 1, 0, 0, 0, 1, 1};

	assert_memory_equal(report.keys_by_type, by_type, sizeof(by_type));
	assert_string_equal(report.repl_id, "0123456789abcdef0123456789abcdef01234567");
	assert_int_equal(report.repl_offset, 123456);
	assert_string_equal(report.server_version, "7.2.99");
}

/* A segment is damaged: it is reported, its chunk is not read, all others are. */
static void test_damage_costs_one_chunk(void **state)
{
	static const struct {
		uint32_t segment, chunk;
		uint64_t keys;
	} cases[] = {{1, 1, 4}, {2, 2, 4}, {3, 2, 4}, {4, 4, 4}, {0, 0, 6}};
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	build_image();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t at = (uint64_t)cases[i].segment * SEGMENT;

		image[at + 1000] ^= 4;
		assert_int_equal(verify(&told, &report), BEAM_E_CRC);
		image[at + 1000] ^= 4;
		assert_true(was_told(&told, BEAM_E_CRC, at));
		assert_true(was_told(&told, BEAM_E_CRC, (uint64_t)cases[i].chunk * SEGMENT));
		assert_true(was_told(&told, BEAM_E_CRC, IMAGE_SIZE - 8));
		assert_int_equal(report.segments_bad, 1);
		assert_int_equal(report.keys, cases[i].keys);
		assert_false(report.crc_ok);
		assert_int_equal(report.problems, told.n);
	}
}

static void test_lost_footer_costs_one_chunk(void **state)
{
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	build_image();
	image[2 * (size_t)SEGMENT - BEAM_CHUNK_FOOTER_BYTES] ^= 1; /* the magic of chunk 1 */
	assert_int_equal(verify(&told, &report), BEAM_E_CRC);
	assert_true(was_told(&told, BEAM_E_FORMAT, SEGMENT));
	assert_int_equal(report.keys, 4);

	build_image();
	image[5 * (size_t)SEGMENT - BEAM_CHUNK_FOOTER_BYTES] ^= 1; /* of the last chunk */
	assert_int_equal(verify(&told, &report), BEAM_E_CRC);
	assert_true(was_told(&told, BEAM_E_FORMAT, 4 * (uint64_t)SEGMENT));
	assert_int_equal(report.keys, 4);
}

/* Flips every bit that is not payload: heads and tails of the chunks, and the whole manifest. */
static void test_every_flipped_header_bit_is_caught(void **state)
{
	const size_t first_tail = (size_t)SEGMENT - BEAM_CHUNK_FOOTER_BYTES;
	const size_t second = SEGMENT, second_tail = 2 * (size_t)SEGMENT - 60;
	const struct {
		size_t start, bytes;
	} ranges[] = {
	    {0, 9},
	    {first_tail, BEAM_CHUNK_FOOTER_BYTES},
	    {second, 64},
	    {second_tail, 60},
	    {(size_t)NFULL * SEGMENT, IMAGE_SIZE - (size_t)NFULL * SEGMENT},
	};
	struct beam_verify_report report;

	(void)state;
	build_image();
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (size_t bit = 8 * ranges[i].start;
		     bit < 8 * (ranges[i].start + ranges[i].bytes); bit++) {
			struct told told = {.stop_after = 1};

			image[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_true(verify(&told, &report) < 0);
			image[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	struct told told = {0};

	assert_int_equal(verify(&told, &report), 0);
}

/* Errors that the writer itself might make: all CRCs are correct. */
static void test_wrong_contents_with_right_crcs(void **state)
{
	struct beam_verify_report report;
	struct told told = {0};
	struct build_items items = {0};

	(void)state;
	build_image();
	build_last(image, NFULL, SEGMENT, &gen, 7);
	assert_int_equal(verify(&told, &report), BEAM_E_COUNT);

	/* A value shorter than the index says, and one longer. */
	memset(image + 4 * (size_t)SEGMENT, 0, SEGMENT);
	ITEM(&items, "\xfe\x00\x00\x01k\x01vxx");
	ITEM(&items, "\x00\x01l\x05v");
	put_chunk(4, 1, &items);
	build_last(image, NFULL, SEGMENT, &gen, 6);
	assert_int_equal(verify(&told, &report), BEAM_E_FORMAT);
	assert_int_equal(told.n, 2);
	assert_true(was_told(&told, BEAM_E_FORMAT, 4 * (uint64_t)SEGMENT + 5));
	assert_int_equal(told.codes[1], BEAM_E_TORN);

	/* Old bytes of a slot in the padding. */
	build_image();
	image[SEGMENT + 4096] = 1;
	build_chunk_crc(image + SEGMENT, SEGMENT);
	build_last(image, NFULL, SEGMENT, &gen, 6);
	assert_int_equal(verify(&told, &report), BEAM_E_FORMAT);
	assert_int_equal(told.n, 1);

	/* A chunk of another generation is not one of this image; a key in the header. */
	struct beam_gen other = {gen.nonce, gen.counter - 1};
	struct build_chunk chunk = {.first_index = 4, .nsegments = 1};

	build_image();
	memset(image + 4 * (size_t)SEGMENT, 0, SEGMENT);
	build_chunk(image + 4 * (size_t)SEGMENT, SEGMENT, &other, &chunk);
	build_last(image, NFULL, SEGMENT, &gen, 6);
	assert_int_equal(verify(&told, &report), BEAM_E_FORMAT);
	assert_true(was_told(&told, BEAM_E_FORMAT, 4 * (uint64_t)SEGMENT));
}

/* A chunk without items: a module's AUX data, walked as far as a key. */
static void test_aux_data_behind_the_keys(void **state)
{
	struct beam_verify_report report;
	struct told told = {0};
	struct build_items items = {0};

	(void)state;
	build_image();
	ITEM(&items, "\xf7\x01\x02\x02\x02\x07\x05\x03"
		     "abc\x00\xf7\x02\x02\x02\x00");
	items.index_bytes = items.nitems = 0;
	memset(image + 4 * (size_t)SEGMENT, 0, SEGMENT);
	put_chunk(4, 1, &items);
	build_last(image, NFULL, SEGMENT, &gen, 4);
	assert_int_equal(verify(&told, &report), 0);
	assert_int_equal(report.keys, 4);

	ITEM(&items, "\x00\x01k\x01v");
	items.index_bytes = items.nitems = 0;
	memset(image + 4 * (size_t)SEGMENT, 0, SEGMENT);
	put_chunk(4, 1, &items);
	build_last(image, NFULL, SEGMENT, &gen, 4);
	assert_int_equal(verify(&told, &report), BEAM_E_FORMAT);
	assert_int_equal(told.n, 1);
	assert_true(was_told(&told, BEAM_E_FORMAT, 4 * (uint64_t)SEGMENT + 17));
}

/* The callback can stop the run after one problem. */
static void test_callback_stops_the_run(void **state)
{
	struct beam_verify_report report;
	struct told told = {.stop_after = 1};

	(void)state;
	build_image();
	image[SEGMENT + 1000] ^= 1;
	image[4 * (size_t)SEGMENT + 1000] ^= 1;
	assert_int_equal(verify(&told, &report), BEAM_E_CRC);
	assert_int_equal(told.n, 1);
	/* And without a callback the first code is still returned. */
	assert_int_equal(beam_verify(image, IMAGE_SIZE, NULL, NULL, &report), BEAM_E_CRC);
	assert_int_equal(report.segments_bad, 2);
}

static void test_truncated_image_is_named_as_ours(void **state)
{
	struct beam_verify_report report;
	static const size_t cuts[] = {1, 9, 60, 7 + NFULL * 8 + 48 + 9, SEGMENT, 3 * SEGMENT};

	(void)state;
	build_image();
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct told told = {0};

		assert_true(beam_verify(image, IMAGE_SIZE - cuts[i], note, &told, &report) < 0);
		assert_false(report.is_image);
		assert_true(was_told(&told, BEAM_E_TORN, IMAGE_SIZE - cuts[i]));
	}
}

static uint8_t *load(const char *name, size_t *len)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/rdb/%s", CORPUS_DIR, name);
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	uint8_t *bytes = malloc(1 << 16);

	*len = fread(bytes, 1, 1 << 16, f);
	fclose(f);
	return bytes;
}

static void test_real_dumps(void **state)
{
	static const struct {
		const char *name, *server;
		int version;
		uint64_t hashes;
		bool crc_absent;
	} dumps[] = {
	    {"7.0.15-compact", "7.0.15", 10, 1, false}, {"7.0.15-tables", "7.0.15", 10, 1, false},
	    {"7.0.15-plain", "7.0.15", 10, 1, true},    {"7.0.15-lfu", "7.0.15", 10, 1, false},
	    {"7.0.15-lru", "7.0.15", 10, 1, false},     {"7.4.1-compact", "7.4.1", 12, 2, false},
	    {"7.4.1-tables", "7.4.1", 12, 2, false},    {"8.0.1-compact", "8.0.1", 11, 1, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
		struct beam_verify_report report;
		struct told told = {0};
		size_t len;
		uint8_t *bytes = load(dumps[i].name, &len);
		const uint64_t by_type[] = {9, 2, 2, 1, dumps[i].hashes, 2, 0, 0, 0, 2};

		assert_int_equal(beam_verify(bytes, len, note, &told, &report), 0);
		assert_false(report.is_image);
		assert_true(report.crc_ok);
		assert_int_equal(report.crc_absent, dumps[i].crc_absent);
		assert_int_equal(report.rdb_version, dumps[i].version);
		assert_int_equal(report.expires, 2);
		assert_int_equal(report.ndbs, 2);
		assert_memory_equal(report.keys_by_type, by_type, sizeof(by_type));
		assert_string_equal(report.server_version, dumps[i].server);
		free(bytes);
	}
}

static void test_every_flip_and_cut_of_a_real_dump_is_caught(void **state)
{
	struct beam_verify_report report;
	size_t len;
	uint8_t *bytes = load("7.4.1-tables", &len);

	(void)state;
	for (size_t bit = 0; bit < 8 * len; bit++) {
		struct told told = {0};

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_true(beam_verify(bytes, len, note, &told, &report) < 0);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);
		struct told told = {0};

		memcpy(copy, bytes, cut);
		assert_true(beam_verify(copy, cut, note, &told, &report) < 0);
		free(copy);
	}
	free(bytes);
}

/* A repl-id as a server may store it: 40 bytes, compressed. */
static void test_compressed_aux_field_is_read(void **state)
{
	uint8_t file[128] = "REDIS0010\xfa\x07repl-id\xc3\x0a\x28\x03"
			    "0123\xe0\x1a\x03\x00"
			    "3\xff";
	const size_t len = 9 + 1 + 8 + 3 + 10 + 1;
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	beam_put_le64(file + len, beam_crc64(0, file, len));
	assert_int_equal(beam_verify(file, len + 8, note, &told, &report), 0);
	assert_string_equal(report.repl_id, "0123012301230123012301230123012301230123");
}

/* The text may go to a terminal. */
static void test_control_bytes_of_a_file_are_not_repeated(void **state)
{
	uint8_t file[64] = "REDIS0010\xfa\x09redis-ver\x07"
			   "7.0\x1b[2J\xff";
	const size_t len = 9 + 1 + 10 + 8 + 1;
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	beam_put_le64(file + len, beam_crc64(0, file, len));
	assert_int_equal(beam_verify(file, len + 8, note, &told, &report), 0);
	assert_string_equal(report.server_version, "7.0?[2J");
}

static void test_unknown_type_ends_the_walk_of_a_plain_file(void **state)
{
	uint8_t file[64] = "REDIS0080\xfe\x00\x63\x01k\x01\x02\xff";
	const size_t len = 17;
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	beam_put_le64(file + len, beam_crc64(0, file, len));
	assert_int_equal(beam_verify(file, len + 8, note, &told, &report), BEAM_E_UNSUPPORTED);
	assert_true(was_told(&told, BEAM_E_UNSUPPORTED, 11));
	assert_int_equal(told.n, 1);
	assert_true(report.crc_ok);
}

static void test_valkeys_own_beginning_is_known(void **state)
{
	uint8_t file[64] = "VALKEY080\xfe\x00\x00\x01k\x01v\xff";
	const size_t len = 17;
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	beam_put_le64(file + len, beam_crc64(0, file, len));
	assert_int_equal(beam_verify(file, len + 8, note, &told, &report), 0);
	assert_int_equal(report.rdb_version, 80);
	assert_int_equal(report.keys, 1);
	file[6] = 'x';
	assert_int_equal(beam_verify(file, len + 8, note, &told, &report), BEAM_E_FORMAT);
}

static void test_bytes_after_the_end_are_told(void **state)
{
	uint8_t file[32] = "REDIS0010\xff";
	struct beam_verify_report report;
	struct told told = {0};

	(void)state;
	beam_put_le64(file + 10, beam_crc64(0, file, 10));
	assert_int_equal(beam_verify(file, 18, note, &told, &report), 0);
	assert_int_equal(beam_verify(file, 19, note, &told, &report), BEAM_E_FORMAT);
	assert_true(was_told(&told, BEAM_E_FORMAT, 18));
	assert_true(report.crc_ok);
}

static int setup(void **state)
{
	(void)state;
	image = malloc(IMAGE_SIZE);
	return image ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(image);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good_image),
	    cmocka_unit_test(test_damage_costs_one_chunk),
	    cmocka_unit_test(test_lost_footer_costs_one_chunk),
	    cmocka_unit_test(test_every_flipped_header_bit_is_caught),
	    cmocka_unit_test(test_wrong_contents_with_right_crcs),
	    cmocka_unit_test(test_aux_data_behind_the_keys),
	    cmocka_unit_test(test_callback_stops_the_run),
	    cmocka_unit_test(test_truncated_image_is_named_as_ours),
	    cmocka_unit_test(test_real_dumps),
	    cmocka_unit_test(test_every_flip_and_cut_of_a_real_dump_is_caught),
	    cmocka_unit_test(test_compressed_aux_field_is_read),
	    cmocka_unit_test(test_control_bytes_of_a_file_are_not_repeated),
	    cmocka_unit_test(test_unknown_type_ends_the_walk_of_a_plain_file),
	    cmocka_unit_test(test_valkeys_own_beginning_is_known),
	    cmocka_unit_test(test_bytes_after_the_end_are_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
