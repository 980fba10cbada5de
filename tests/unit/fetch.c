/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How long a pull tolerates a server that completes no read, with a clock of this test's own; and
 * how much is read of segments that are mostly filler.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "crc64.h"
#include "fetch.h"
#include "image_reader.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "redis.h"
#include "window.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint64_t clock_ms = 1000;

uint64_t __wrap_beam_now_ms(void);

uint64_t __wrap_beam_now_ms(void)
{
	return clock_ms;
}

struct slow_reader {
	struct beam_reader base;
	bool sends; /* bytes, but not enough for an event */
	bool welcomed;
};

/* Each call takes one second. */
static int slow_next(struct beam_reader *base, struct beam_reader_event *event, int timeout_ms)
{
	struct slow_reader *reader = (struct slow_reader *)base;

	(void)timeout_ms;
	clock_ms += 1000;
	if (!reader->welcomed) {
		reader->welcomed = true;
		event->type = BEAM_READER_WELCOME;
		event->welcome = (struct beam_wire_welcome){.segment_bytes = BEAM_SEGMENT_ALIGN,
							    .read_max = 1 << 20};
		return 1;
	}
	if (reader->sends)
		reader->base.heard_ms = clock_ms;
	return 0;
}

static int slow_check(struct beam_reader *base)
{
	(void)base;
	return 0;
}

static int slow_fd(const struct beam_reader *base)
{
	(void)base;
	return -1;
}

static const struct beam_reader_ops slow_ops = {
    .name = "slow", .next = slow_next, .check = slow_check, .fd = slow_fd};

static int count_ticks(void *arg)
{
	return ++*(unsigned *)arg == 120 ? BEAM_E_ABORTED : 0;
}

static int run(bool sends, unsigned *ticks)
{
	struct slow_reader reader = {.base.ops = &slow_ops, .sends = sends};
	const struct beam_segment_sink sink = {.wake_fd = -1};
	const struct beam_fetch_trust trust = {.vouched = false};
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_fetch *fetch;

	*ticks = 0;
	assert_int_equal(beam_fetch_open(&sink, &fetch), 0);
	int rc = beam_fetch_run(fetch, &reader.base, &trust, count_ticks, ticks, error);

	beam_fetch_close(&fetch);
	return rc;
}

static void a_silent_server_is_given_up(void **state)
{
	unsigned ticks;

	(void)state;
	assert_int_equal(run(false, &ticks), BEAM_E_GONE);
	assert_in_range(ticks, 20, 30);
}

static void a_slow_server_is_borne(void **state)
{
	unsigned ticks;

	(void)state;
	assert_int_equal(run(true, &ticks), BEAM_E_ABORTED);
}

/* ---- filler --------------------------------------------------------------------------------- */

#define SEGMENT    BEAM_SEGMENT_ALIGN
#define BODY_BYTES 1000u
#define LAST_BYTES 16u
#define EVENTS     64

/* Serves an image with one chunk, and a last segment of which only the checksum matters. */
struct image_reader {
	struct beam_reader base;
	uint8_t *bytes; /* SEGMENT + LAST_BYTES */
	struct beam_reader_event events[EVENTS];
	uint32_t nevents, at;
	uint64_t read_bytes;
};

static int image_next(struct beam_reader *base, struct beam_reader_event *event, int timeout_ms)
{
	struct image_reader *reader = (struct image_reader *)base;

	(void)timeout_ms;
	if (reader->at == reader->nevents)
		return 0;
	*event = reader->events[reader->at++];
	return 1;
}

static int image_read(struct beam_reader *base, uint32_t index, uint32_t offset, void *buf,
		      uint32_t len_bytes, uint64_t cookie)
{
	struct image_reader *reader = (struct image_reader *)base;

	assert_in_range(reader->nevents, 0, EVENTS - 1);
	memcpy(buf, reader->bytes + index * (size_t)SEGMENT + offset, len_bytes);
	reader->read_bytes += len_bytes;
	reader->events[reader->nevents++] =
	    (struct beam_reader_event){.type = BEAM_READER_DONE, .cookie = cookie};
	return 0;
}

static void image_memory(struct beam_reader *base, void *memory, uint64_t len_bytes)
{
	(void)base, (void)memory, (void)len_bytes;
}

static void image_taken(struct beam_reader *base, uint32_t index)
{
	(void)base, (void)index;
}

static const struct beam_reader_ops image_ops = {.name = "image",
						 .next = image_next,
						 .read = image_read,
						 .memory = image_memory,
						 .taken = image_taken,
						 .check = slow_check,
						 .fd = slow_fd};

static void make_image(struct image_reader *reader)
{
	struct beam_chunk_footer footer = {.nsegments = 1, .body_bytes = BODY_BYTES};
	uint8_t *last = reader->bytes + SEGMENT;

	memset(reader->bytes, 'x', BODY_BYTES);
	memcpy(footer.magic, BEAM_CHUNK_MAGIC, sizeof(footer.magic));
	beam_chunk_footer_put(last - BEAM_CHUNK_FOOTER_BYTES, &footer);
	memset(last, 'y', LAST_BYTES - 8);
	uint64_t crc = beam_crc64(0, reader->bytes, SEGMENT);
	uint64_t sum = beam_crc64(crc, last, LAST_BYTES - 8);

	beam_put_le64(last + LAST_BYTES - 8, sum);
	reader->events[0] =
	    (struct beam_reader_event){.type = BEAM_READER_WELCOME,
				       .welcome = {.segment_bytes = SEGMENT, .read_max = 1 << 20}};
	reader->events[1] = (struct beam_reader_event){
	    .type = BEAM_READER_SEALED, .sealed = {.index = 0, .len_bytes = SEGMENT, .crc = crc}};
	reader->events[2] = (struct beam_reader_event){
	    .type = BEAM_READER_SEALED,
	    .sealed = {
		.index = 1, .len_bytes = LAST_BYTES, .crc = beam_crc64(0, last, LAST_BYTES)}};
	reader->events[3] = (struct beam_reader_event){
	    .type = BEAM_READER_COMPLETE,
	    .complete = {.nsegments = 2, .image_bytes = SEGMENT + LAST_BYTES, .file_crc = sum}};
	reader->nevents = 4;
}

static int into_begin(void *ctx, uint32_t segment_bytes)
{
	(void)ctx;
	assert_int_equal(segment_bytes, SEGMENT);
	return 0;
}

static int into_room(void *ctx, uint32_t index, uint8_t **buf)
{
	*buf = (uint8_t *)ctx + index * (size_t)SEGMENT;
	return 0;
}

static int into_take(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		     const struct beam_segment_proof *proof)
{
	(void)ctx, (void)index, (void)buf, (void)len_bytes, (void)proof;
	return 0;
}

static void into_back(void *ctx, uint32_t index, uint8_t *buf)
{
	(void)ctx, (void)index, (void)buf;
}

static void *into_memory(void *ctx, uint64_t *len_bytes)
{
	*len_bytes = 0;
	return ctx;
}

/* Let the thread run that computes the checksums. */
static int let_check(void *arg)
{
	(void)arg;
	sched_yield();
	return 0;
}

static bool into_blank(void *ctx, uint32_t index)
{
	(void)ctx, (void)index;
	return true;
}

static bool is_touched(uint8_t *at)
{
	unsigned char resident;

	assert_int_equal(mincore(at, 1, &resident), 0);
	return resident & 1;
}

/* Reads the image into memory that is not zeroed (or into new memory, with `blank`), and compares.
 * Returns the number of bytes read. */
static uint64_t fetch_image(struct image_reader *reader, bool blank,
			    struct beam_fetch_counts *counts)
{
	const struct beam_fetch_trust trust = {.vouched = false};
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	uint8_t *into = mmap(NULL, 2 * (size_t)SEGMENT, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct beam_segment_sink sink = {.ctx = into,
					 .begin = into_begin,
					 .room = into_room,
					 .blank = blank ? into_blank : NULL,
					 .take = into_take,
					 .back = into_back,
					 .memory = into_memory,
					 .wake_fd = -1};
	struct beam_fetch *fetch;

	assert_ptr_not_equal(into, MAP_FAILED);
	madvise(into, 2 * (size_t)SEGMENT, MADV_NOHUGEPAGE);
	if (!blank)
		memset(into, 0xff, 2 * (size_t)SEGMENT);
	assert_int_equal(beam_fetch_open(&sink, &fetch), 0);
	assert_int_equal(beam_fetch_run(fetch, &reader->base, &trust, let_check, NULL, error), 0);
	beam_fetch_counts(fetch, counts);
	if (blank && !counts->rereads)
		assert_false(is_touched(into + SEGMENT / 2));
	assert_memory_equal(into, reader->bytes, SEGMENT + LAST_BYTES);
	beam_fetch_detach(fetch);
	beam_fetch_close(&fetch);
	munmap(into, 2 * (size_t)SEGMENT);
	return reader->read_bytes;
}

static void read_filler(bool blank)
{
	struct image_reader reader = {.base.ops = &image_ops,
				      .bytes = calloc(1, SEGMENT + LAST_BYTES)};
	struct beam_fetch_counts counts;

	assert_non_null(reader.bytes);
	make_image(&reader);
	assert_in_range(fetch_image(&reader, blank, &counts), BODY_BYTES, 3 * 4096);
	assert_int_equal(counts.rereads, 0);
	assert_int_equal(counts.bytes, SEGMENT + LAST_BYTES);
	free(reader.bytes);
}

static void filler_is_not_read(void **state)
{
	(void)state;
	read_filler(false);
}

static void filler_in_new_memory_is_not_touched(void **state)
{
	(void)state;
	read_filler(true);
}

static void read_what_is_none(bool blank)
{
	struct image_reader reader = {.base.ops = &image_ops,
				      .bytes = calloc(1, SEGMENT + LAST_BYTES)};
	struct beam_fetch_counts counts;

	assert_non_null(reader.bytes);
	reader.bytes[SEGMENT / 2] = 1;
	make_image(&reader);
	assert_in_range(fetch_image(&reader, blank, &counts), SEGMENT, SEGMENT + 3 * 4096);
	assert_int_equal(counts.rereads, 1);
	free(reader.bytes);
}

#define FULL 4u /* segments, and a last one */

struct few_buffers {
	uint8_t *unused[2];
	uint32_t nunused;
	uint32_t ntaken;
};

static int few_room(void *ctx, uint32_t index, uint8_t **buf)
{
	struct few_buffers *few = ctx;

	(void)index;
	if (!few->nunused)
		return -EAGAIN;
	*buf = few->unused[--few->nunused];
	return 0;
}

static void few_back(void *ctx, uint32_t index, uint8_t *buf)
{
	struct few_buffers *few = ctx;

	(void)index;
	few->unused[few->nunused++] = buf;
}

static int few_take(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		    const struct beam_segment_proof *proof)
{
	(void)len_bytes, (void)proof;
	((struct few_buffers *)ctx)->ntaken++;
	few_back(ctx, index, buf);
	return 0;
}

static int tick_for_a_while(void *arg)
{
	sched_yield();
	return ++*(unsigned *)arg == 1000000 ? BEAM_E_ABORTED : 0;
}

/* Segments of filler that arrive in this order; the buffers are all taken when the first comes. */
static void make_segments(struct image_reader *reader)
{
	static const uint32_t order[] = {3, 2, 0, 1, FULL};
	struct beam_crc64_shift shift;
	uint8_t *last = reader->bytes + FULL * (size_t)SEGMENT;
	uint64_t crc, sum = 0;

	make_image(reader);
	crc = beam_crc64(0, reader->bytes, SEGMENT);
	beam_crc64_shift_init(&shift, SEGMENT);
	for (uint32_t i = 0; i < FULL; i++) {
		memmove(reader->bytes + i * (size_t)SEGMENT, reader->bytes, SEGMENT);
		sum = beam_crc64_append(sum, crc, &shift);
	}
	memset(last, 'y', LAST_BYTES - 8);
	sum = beam_crc64(sum, last, LAST_BYTES - 8);
	beam_put_le64(last + LAST_BYTES - 8, sum);
	for (uint32_t i = 0; i < FULL + 1; i++) {
		bool full = order[i] < FULL;

		reader->events[1 + i] = (struct beam_reader_event){
		    .type = BEAM_READER_SEALED,
		    .sealed = {.index = order[i],
			       .len_bytes = full ? SEGMENT : LAST_BYTES,
			       .crc = full ? crc : beam_crc64(0, last, LAST_BYTES)}};
	}
	reader->events[2 + FULL] = (struct beam_reader_event){
	    .type = BEAM_READER_COMPLETE,
	    .complete = {.nsegments = FULL + 1,
			 .image_bytes = FULL * (uint64_t)SEGMENT + LAST_BYTES,
			 .file_crc = sum}};
	reader->nevents = 3 + FULL;
}

static void segments_in_any_order_fit_into_few_buffers(void **state)
{
	const struct beam_fetch_trust trust = {.vouched = false};
	struct image_reader reader = {.base.ops = &image_ops,
				      .bytes = calloc(1, FULL * (size_t)SEGMENT + LAST_BYTES)};
	uint8_t *memory = malloc(2 * (size_t)SEGMENT);
	struct few_buffers few = {.unused = {memory, memory + SEGMENT}, .nunused = 2};
	struct beam_segment_sink sink = {.ctx = &few,
					 .begin = into_begin,
					 .room = few_room,
					 .take = few_take,
					 .back = few_back,
					 .memory = into_memory,
					 .wake_fd = -1};
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_fetch *fetch;
	unsigned ticks = 0;

	(void)state;
	assert_non_null(reader.bytes);
	assert_non_null(memory);
	make_segments(&reader);
	assert_int_equal(beam_fetch_open(&sink, &fetch), 0);
	assert_int_equal(
	    beam_fetch_run(fetch, &reader.base, &trust, tick_for_a_while, &ticks, error), 0);
	assert_int_equal(few.ntaken, FULL + 1);
	assert_int_equal(few.nunused, 2);
	beam_fetch_close(&fetch);
	free(memory);
	free(reader.bytes);
}

static void filler_that_is_none_is_read(void **state)
{
	(void)state;
	read_what_is_none(false);
	read_what_is_none(true);
}

static void a_slot_is_blank_once(void **state)
{
	const struct beam_gen gen = {.counter = 1};
	struct beam_segment_sink sink;
	struct beam_window *window;
	uint8_t *buf;

	(void)state;
	assert_int_equal(beam_window_open(2 * (uint64_t)SEGMENT, false, &gen, &window), 0);
	beam_window_sink(window, &sink);
	assert_int_equal(sink.begin(sink.ctx, SEGMENT), 0);
	for (uint32_t i = 0; i < 2; i++) {
		assert_true(sink.blank(sink.ctx, i));
		assert_int_equal(sink.room(sink.ctx, i, &buf), 0);
		assert_false(sink.blank(sink.ctx, i));
	}
	assert_int_equal(sink.room(sink.ctx, 2, &buf), -EAGAIN);
	assert_false(sink.blank(sink.ctx, 2));
	beam_window_close(&window);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_silent_server_is_given_up),
	    cmocka_unit_test(a_slow_server_is_borne),
	    cmocka_unit_test(filler_is_not_read),
	    cmocka_unit_test(filler_in_new_memory_is_not_touched),
	    cmocka_unit_test(filler_that_is_none_is_read),
	    cmocka_unit_test(segments_in_any_order_fit_into_few_buffers),
	    cmocka_unit_test(a_slot_is_blank_once),
	};

	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
