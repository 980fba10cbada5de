/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where fetched segments wait: the stage (memory, then file, in one range of addresses) and the
 * window (bounded, in order).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "crc64.h"
#include "image_reader.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "rdbeam/image_format.h"
#include "stage.h"
#include "window.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEGMENT BEAM_SEGMENT_ALIGN

static const struct beam_gen gen = {.nonce = 7, .counter = 3};

static void fill(struct beam_segment_sink *sink, uint32_t index, uint32_t len)
{
	uint8_t *buf;

	assert_int_equal(sink->room(sink->ctx, index, &buf), 0);
	memset(buf, (int)('a' + index), len);
	assert_int_equal(sink->take(sink->ctx, index, buf, len, &(struct beam_segment_proof){0}),
			 0);
}

static void expect(struct beam_image_source *source, uint32_t index, uint32_t len)
{
	const uint8_t *base;
	uint32_t got;

	assert_int_equal(source->next(source->ctx, &base, &got, 0), 1);
	assert_int_equal(got, len);
	assert_int_equal(base[0], 'a' + index);
	assert_int_equal(base[len - 1], 'a' + index);
	source->release(source->ctx);
}

static void test_stage_goes_from_memory_to_the_file(void **state)
{
	static const uint32_t order[] = {3, 0, 4, 1, 2};
	struct beam_stage *stage = NULL;
	struct beam_segment_sink sink;
	struct beam_image_source source;

	(void)state;
	assert_int_equal(beam_stage_open(2 * SEGMENT, "/tmp", &gen, &stage), 0);
	beam_stage_sink(stage, &sink);
	assert_int_equal(sink.begin(sink.ctx, SEGMENT), 0);
	for (size_t i = 0; i < 5; i++)
		fill(&sink, order[i], order[i] == 4 ? 100 : SEGMENT);
	assert_int_equal(beam_stage_spilled(stage), 3 * SEGMENT);
	beam_stage_finish(stage, 4ull * SEGMENT + 100);
	beam_stage_source(stage, false, &source);
	assert_int_equal(source.length_bytes, 4ull * SEGMENT + 100);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(beam_stage_bytes(stage)[(size_t)i * SEGMENT], 'a' + i);
		expect(&source, i, i == 4 ? 100 : SEGMENT);
	}
	const uint8_t *base;
	uint32_t len;

	assert_int_equal(source.next(source.ctx, &base, &len, 0), 0);
	beam_stage_close(&stage);
	assert_null(stage);
}

static void test_stage_asked_twice_gives_the_same_place(void **state)
{
	struct beam_stage *stage = NULL;
	struct beam_segment_sink sink;
	uint8_t *first, *second;

	(void)state;
	assert_int_equal(beam_stage_open(0, "/tmp", &gen, &stage), 0);
	beam_stage_sink(stage, &sink);
	assert_int_equal(sink.begin(sink.ctx, SEGMENT), 0);
	assert_int_equal(sink.room(sink.ctx, 7, &first), 0);
	sink.back(sink.ctx, 7, first);
	assert_int_equal(sink.room(sink.ctx, 7, &second), 0);
	assert_ptr_equal(first, second);
	assert_int_equal(beam_stage_spilled(stage), SEGMENT);
	beam_stage_close(&stage);
}

static void test_stage_without_room_is_an_error(void **state)
{
	struct beam_stage *stage = NULL;
	struct beam_segment_sink sink;
	uint8_t *buf;

	(void)state;
	assert_int_equal(beam_stage_open(0, "/nonexistent", &gen, &stage), 0);
	beam_stage_sink(stage, &sink);
	assert_int_equal(sink.begin(sink.ctx, SEGMENT), 0);
	assert_int_equal(sink.room(sink.ctx, 0, &buf), -ENOENT);
	assert_true(sink.room(sink.ctx, BEAM_SEGMENTS_MAX, &buf) < 0);
	beam_stage_close(&stage);
}

static uint64_t address_bytes(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void test_stage_takes_the_addresses_it_may_have(void **state)
{
	struct beam_stage *stage = NULL;
	struct rlimit before, limit;
	struct beam_segment_sink sink;
	uint8_t *buf;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
	limit = before;
	limit.rlim_cur = address_bytes() + (3ull << 30);
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	assert_int_equal(beam_stage_open(SEGMENT, "/tmp", &gen, &stage), 0);
	beam_stage_sink(stage, &sink);
	int began = sink.begin(sink.ctx, SEGMENT);

	assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
	assert_int_equal(began, 0);
	fill(&sink, 100, SEGMENT);
	assert_int_equal(sink.room(sink.ctx, (4ull << 30) / SEGMENT, &buf), -EFBIG);
	beam_stage_close(&stage);
}

struct window_ends {
	struct beam_window *window;
	struct beam_segment_sink sink;
	struct beam_image_source source;
};

static int open_window(void **state)
{
	static struct window_ends ends;

	assert_int_equal(beam_window_open(3 * SEGMENT, false, &gen, &ends.window), 0);
	beam_window_sink(ends.window, &ends.sink);
	beam_window_source(ends.window, false, &ends.source);
	assert_int_equal(ends.sink.begin(ends.sink.ctx, SEGMENT), 0);
	*state = &ends;
	return 0;
}

static int close_window(void **state)
{
	struct window_ends *e = *state;

	beam_window_close(&e->window);
	assert_null(e->window);
	return 0;
}

static void test_window_is_bounded_and_keeps_room_for_the_next(void **state)
{
	struct window_ends *e = *state;
	uint8_t *buf;

	fill(&e->sink, 2, SEGMENT);
	fill(&e->sink, 1, SEGMENT);
	assert_false(beam_window_ready(e->window));
	assert_int_equal(e->sink.room(e->sink.ctx, 3, &buf), -EAGAIN);
	fill(&e->sink, 0, SEGMENT); /* there is always room for the one that the feed waits for */
	assert_true(beam_window_ready(e->window));
	expect(&e->source, 0, SEGMENT);
	fill(&e->sink, 3, 10);
	for (uint32_t i = 1; i < 3; i++)
		expect(&e->source, i, SEGMENT);
	beam_window_finish(e->window, 4);
	expect(&e->source, 3, 10);
	const uint8_t *base;
	uint32_t len;

	assert_int_equal(e->source.next(e->source.ctx, &base, &len, 1000), 0);
}

static void test_window_waits_and_can_be_aborted(void **state)
{
	struct window_ends *e = *state;
	const uint8_t *base;
	uint32_t len;

	fill(&e->sink, 1, SEGMENT);
	assert_int_equal(e->source.next(e->source.ctx, &base, &len, 1), -ETIMEDOUT);
	beam_window_abort(e->window, BEAM_E_CRC);
	beam_window_abort(e->window, BEAM_E_GONE);
	assert_int_equal(e->source.next(e->source.ctx, &base, &len, 1000), BEAM_E_CRC);
}

/* A chunk in a shared window is decoded in place, even across the window's end. */
static void test_shared_window_is_in_one_piece_round_its_end(void **state)
{
	struct beam_window *window;
	struct beam_segment_sink sink;
	struct beam_image_source source;
	struct beam_window_shape shape;
	const struct beam_segment_proof proof = {0};
	const uint8_t *base;
	uint32_t len;

	(void)state;
	assert_int_equal(beam_window_open(3 * SEGMENT, true, &gen, &window), 0);
	beam_window_sink(window, &sink);
	beam_window_source(window, false, &source);
	assert_int_equal(sink.begin(sink.ctx, SEGMENT), 0);
	for (uint32_t i = 0; i < 4; i++) {
		uint8_t *buf;

		assert_int_equal(sink.room(sink.ctx, i, &buf), 0);
		memset(buf, (int)i + 1, SEGMENT);
		assert_int_equal(sink.take(sink.ctx, i, buf, SEGMENT, &proof), 0);
		if (i < 2) {
			assert_int_equal(source.next(source.ctx, &base, &len, 0), 1);
			source.release(source.ctx);
		}
	}
	beam_window_shape(window, &shape);
	assert_int_equal(shape.nslots, 3);
	assert_int_equal(beam_window_look(window, 2, &base, &len, 0), 1);
	assert_ptr_equal(base, shape.base + 2 * (size_t)SEGMENT);
	assert_int_equal(base[0], 3);
	assert_int_equal(base[SEGMENT - 1], 3);
	assert_int_equal(base[SEGMENT], 4);
	assert_int_equal(base[2 * (size_t)SEGMENT - 1], 4);
	beam_window_close(&window);
}

/* The window is smaller than --buffer allows, because touching new pages is expensive. */
static void test_window_takes_no_more_memory_than_is_of_use(void **state)
{
	for (int shared = 0; shared < 2; shared++) {
		struct beam_window *window;
		struct beam_segment_sink sink;
		struct beam_window_shape shape;

		(void)state;
		assert_int_equal(beam_window_open(1ull << 30, shared, &gen, &window), 0);
		beam_window_sink(window, &sink);
		assert_int_equal(sink.begin(sink.ctx, 4u << 20), 0);
		beam_window_shape(window, &shape);
		assert_int_equal(shape.nslots, shared ? 16 : 4);
		beam_window_close(&window);
	}
}

/* ---- what is sent of an image -------------------------------------------------------------- */

#define BODY_BYTES 9u
#define SENT_BYTES (BODY_BYTES + BEAM_AUX_FIXED_BYTES + BEAM_HELD_BYTES)
#define LAST_BYTES (BEAM_AUX_FIXED_BYTES + 8u + BEAM_MANIFEST_FOOTER_BYTES + BEAM_LAST_TAIL_BYTES)

static void put_aux(uint8_t *at, uint32_t value_bytes)
{
	const uint8_t head[BEAM_AUX_FIXED_BYTES] = {BEAM_RDB_OP_AUX,
						    0,
						    0x80,
						    (uint8_t)(value_bytes >> 24),
						    (uint8_t)(value_bytes >> 16),
						    (uint8_t)(value_bytes >> 8),
						    (uint8_t)value_bytes};

	memcpy(at, head, sizeof(head));
}

/* Fills in an image of one header chunk of generation `of`, most of it filler. Its checksum is off by `wrong`. */
static void fill_small_image(struct beam_segment_sink *sink, const struct beam_gen *of,
			     uint64_t wrong)
{
	struct beam_chunk_footer footer = {.gen = *of, .nsegments = 1, .body_bytes = BODY_BYTES};
	struct beam_manifest_footer manifest = {
	    .gen = *of, .nsegments = 2, .segment_bytes = SEGMENT};
	struct beam_segment_proof proof = {0};
	uint8_t *buf;

	assert_int_equal(sink->room(sink->ctx, 0, &buf), 0);
	memset(buf, 0, SEGMENT);
	memcpy(buf, "REDIS0010", BODY_BYTES);
	put_aux(buf + BODY_BYTES, SEGMENT - BODY_BYTES - BEAM_AUX_FIXED_BYTES);
	memcpy(footer.magic, BEAM_CHUNK_MAGIC, sizeof(footer.magic));
	beam_chunk_footer_put(buf + SEGMENT - BEAM_CHUNK_FOOTER_BYTES, &footer);
	proof.crc = beam_crc64(0, buf, SEGMENT);
	assert_int_equal(sink->take(sink->ctx, 0, buf, SEGMENT, &proof), 0);

	uint64_t crc = proof.crc;

	assert_int_equal(sink->room(sink->ctx, 1, &buf), 0);
	put_aux(buf, 8 + BEAM_MANIFEST_FOOTER_BYTES);
	beam_put_le64(buf + BEAM_AUX_FIXED_BYTES, crc);
	memcpy(manifest.magic, BEAM_MANIFEST_MAGIC, sizeof(manifest.magic));
	beam_manifest_footer_put(buf + BEAM_AUX_FIXED_BYTES + 8, &manifest);
	buf[LAST_BYTES - BEAM_LAST_TAIL_BYTES] = BEAM_RDB_OP_EOF;
	beam_put_le64(buf + LAST_BYTES - 8, beam_crc64(crc, buf, LAST_BYTES - 8) ^ wrong);
	proof.crc = beam_crc64(0, buf, LAST_BYTES);
	assert_int_equal(sink->take(sink->ctx, 1, buf, LAST_BYTES, &proof), 0);
}

/* The server gets the header with as much filler as a feed can hold back, the manifest, and a
 * checksum of these. The checksum of a wrong image stays wrong. */
static void expect_small_image(struct beam_image_source *source, uint64_t wrong)
{
	uint8_t aux[BEAM_AUX_FIXED_BYTES];
	const uint8_t *base;
	uint32_t len;

	put_aux(aux, BEAM_HELD_BYTES);
	assert_int_equal(source->next(source->ctx, &base, &len, 0), 1);
	assert_int_equal(len, SENT_BYTES);
	assert_memory_equal(base, "REDIS0010", BODY_BYTES);
	assert_memory_equal(base + BODY_BYTES, aux, sizeof(aux));
	uint64_t crc = beam_crc64(0, base, len);

	source->release(source->ctx);
	assert_int_equal(source->next(source->ctx, &base, &len, 0), 1);
	assert_int_equal(len, LAST_BYTES);
	crc = beam_crc64(crc, base, len - 8);
	assert_int_equal(beam_get_le64(base + len - 8) == crc, wrong == 0);
	source->release(source->ctx);
}

static void test_filler_of_a_stage_is_not_sent(void **state)
{
	(void)state;
	for (uint64_t wrong = 0; wrong < 2; wrong++) {
		struct beam_stage *stage = NULL;
		struct beam_segment_sink sink;
		struct beam_image_source source;

		assert_int_equal(beam_stage_open(4 * SEGMENT, "/tmp", &gen, &stage), 0);
		beam_stage_sink(stage, &sink);
		assert_int_equal(sink.begin(sink.ctx, SEGMENT), 0);
		fill_small_image(&sink, &gen, wrong);
		beam_stage_finish(stage, SEGMENT + LAST_BYTES);
		beam_stage_source(stage, false, &source);
		assert_int_equal(source.length_bytes, SENT_BYTES + LAST_BYTES);
		expect_small_image(&source, wrong);
		beam_stage_close(&stage);
	}
}

static void test_filler_of_a_window_is_not_sent(void **state)
{
	(void)state;
	for (uint64_t wrong = 0; wrong < 2; wrong++) {
		struct window_ends *e;

		open_window((void **)&e);
		fill_small_image(&e->sink, &gen, wrong);
		beam_window_finish(e->window, 2);
		expect_small_image(&e->source, wrong);
		close_window((void **)&e);
	}
}

/* They may be bytes of a value, whoever wrote it. */
static void test_marks_of_another_image_are_sent(void **state)
{
	const struct beam_gen other = {.nonce = gen.nonce + 1, .counter = gen.counter};
	struct window_ends *e;
	const uint8_t *base;
	uint32_t len;

	(void)state;
	open_window((void **)&e);
	fill_small_image(&e->sink, &other, 0);
	beam_window_finish(e->window, 2);
	assert_int_equal(e->source.next(e->source.ctx, &base, &len, 0), 1);
	assert_int_equal(len, SEGMENT);
	uint64_t crc = beam_crc64(0, base, len);

	e->source.release(e->source.ctx);
	assert_int_equal(e->source.next(e->source.ctx, &base, &len, 0), 1);
	assert_int_equal(len, LAST_BYTES);
	assert_int_equal(beam_get_le64(base + len - 8), beam_crc64(crc, base, len - 8));
	e->source.release(e->source.ctx);
	close_window((void **)&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_marks_of_another_image_are_sent),
	    cmocka_unit_test(test_shared_window_is_in_one_piece_round_its_end),
	    cmocka_unit_test(test_window_takes_no_more_memory_than_is_of_use),
	    cmocka_unit_test(test_stage_goes_from_memory_to_the_file),
	    cmocka_unit_test(test_stage_asked_twice_gives_the_same_place),
	    cmocka_unit_test(test_stage_without_room_is_an_error),
	    cmocka_unit_test(test_stage_takes_the_addresses_it_may_have),
	    cmocka_unit_test(test_filler_of_a_stage_is_not_sent),
	    cmocka_unit_test(test_filler_of_a_window_is_not_sent),
	    cmocka_unit_test_setup_teardown(test_window_is_bounded_and_keeps_room_for_the_next,
					    open_window, close_window),
	    cmocka_unit_test_setup_teardown(test_window_waits_and_can_be_aborted, open_window,
					    close_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
