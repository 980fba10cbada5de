/* SPDX-License-Identifier: BSD-3-Clause
 * Tickets, sessions and the fence, with the real daemon and the real TCP reader. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "crc64.h"
#include "daemon_served.h"
#include "rdbeam/error.h"

#define KEYS 200

static const struct save memory = {.kind = BEAM_SNAPSHOT_MEMORY,
				   .estimate_bytes = KEYS * 65536ull + 2 * RIG_SEGMENT_BYTES,
				   .nkeys = KEYS};

static void save_memory(struct rig *rig, uint64_t counter)
{
	assert_int_equal(rig_reap(rig_save(rig, &memory)), 0);
	assert_true(rig_wait_state(rig, BEAM_STATE_READY, counter));
}

static void open_served(struct rig *rig, uint32_t segments)
{
	served_open(rig, segments);
	save_memory(rig, 1);
}

/* Processes events until COMPLETE. `crcs` gets the CRC of each segment, `last` the length of the
 * last one. */
static struct beam_wire_complete learn_image(struct beam_reader *reader, uint64_t *crcs,
					     uint32_t cap, uint32_t *last)
{
	struct beam_reader_event event;
	uint32_t sealed = 0;

	for (;;) {
		assert_int_equal(beam_tcp_reader.next(reader, &event, 5000), 1);
		if (event.type == BEAM_READER_COMPLETE)
			break;
		assert_int_equal(event.type, BEAM_READER_SEALED);
		assert_true(event.sealed.index < cap);
		crcs[event.sealed.index] = event.sealed.crc;
		if (event.sealed.len_bytes < RIG_SEGMENT_BYTES)
			*last = event.sealed.len_bytes;
		sealed++;
	}
	assert_int_equal(sealed, event.complete.nsegments);
	return event.complete;
}

static void pull_gets_the_image(void **state)
{
	static uint8_t buf[RIG_SEGMENT_BYTES];
	struct beam_reader_event event;
	struct beam_reader *reader;
	uint64_t crcs[64], crc = 0, bytes = 0;
	uint32_t last = RIG_SEGMENT_BYTES;
	struct rig rig;

	(void)state;
	open_served(&rig, 64);
	struct beam_reader_opts opts = served_ticket(&rig, "127.0.0.1");

	assert_int_equal(served_enter(&opts, &reader), 0);
	struct beam_wire_complete whole = learn_image(reader, crcs, 64, &last);

	for (uint32_t i = 0; i < whole.nsegments; i++) {
		uint32_t len = i + 1 < whole.nsegments ? RIG_SEGMENT_BYTES : last;

		assert_int_equal(beam_tcp_reader.read(reader, i, 0, buf, len, i), 0);
		served_next(reader, &event, BEAM_READER_DONE);
		assert_int_equal(event.cookie, i);
		assert_true(beam_crc64(0, buf, len) == crcs[i]);
		crc = beam_crc64(crc, buf, len);
		bytes += len;
	}
	assert_int_equal(bytes, whole.image_bytes);
	assert_int_equal(crc, 0); /* the image ends with the CRC of all before it */
	assert_int_equal(beam_tcp_reader.check(reader), 0);
	served_next(reader, &event, BEAM_READER_VALID);
	beam_tcp_reader.close(&reader, bytes, 1);
	while (rig.status.pull_bytes_total < bytes || rig.status.pulls_active)
		assert_true(rig_next(&rig, 5000) >= 0);
	assert_int_equal(rig.status.pulls_total, 1);
	assert_true(rig_close(&rig));
}

/* Reads the whole image. */
static uint64_t read_all(struct beam_reader *reader)
{
	static uint8_t buf[RIG_SEGMENT_BYTES];
	struct beam_reader_event event;
	uint64_t crcs[64];
	uint32_t last = RIG_SEGMENT_BYTES;
	struct beam_wire_complete whole = learn_image(reader, crcs, 64, &last);

	for (uint32_t i = 0; i < whole.nsegments; i++) {
		uint32_t len = i + 1 < whole.nsegments ? RIG_SEGMENT_BYTES : last;

		assert_int_equal(beam_tcp_reader.read(reader, i, 0, buf, len, i), 0);
		served_next(reader, &event, BEAM_READER_DONE);
	}
	return whole.image_bytes;
}

/* Polls the page until a pull of `bytes` is over. No message may announce it meanwhile. */
static void look_until_over(struct rig *rig, uint64_t bytes)
{
	uint64_t seen = 0, deadline = beam_now_ms() + 10000;
	struct beam_ctl_status now = {0};

	while (now.pull_bytes_total < bytes || now.pulls_active) {
		assert_true(beam_now_ms() < deadline);
		rig_next(rig, 20);
		assert_int_equal(rig->status.pulls_total, 0);
		beam_status_page_read(rig->page, &seen, &now);
	}
	assert_int_equal(now.pulls_total, 1);
}

static void numbers_that_move_are_on_the_page_and_news_are_told(void **state)
{
	struct beam_reader *reader;
	struct rig rig;

	(void)state;
	assert_true(rig_open_paged(&rig, 64));
	served_listen(&rig);
	save_memory(&rig, 1);
	struct beam_reader_opts opts = served_ticket(&rig, "127.0.0.1");

	assert_int_equal(served_enter(&opts, &reader), 0);
	uint64_t bytes = read_all(reader);

	beam_tcp_reader.close(&reader, bytes, 1);
	look_until_over(&rig, bytes);
	save_memory(&rig, 2);
	assert_int_equal(rig.status.pulls_total, 1);
	assert_int_equal(rig.status.servable.counter, 2);
	assert_true(rig_close(&rig));
}

static void ticket_is_good_once_and_from_one_address(void **state)
{
	struct beam_reader *reader, *second;
	struct rig rig;

	(void)state;
	open_served(&rig, 64);
	struct beam_reader_opts opts = served_ticket(&rig, "127.0.0.1");

	assert_int_equal(served_enter(&opts, &reader), 0);
	assert_int_equal(served_enter(&opts, &second), BEAM_E_DENIED);
	beam_tcp_reader.close(&reader, 0, 0);
	opts = served_ticket(&rig, "127.0.0.2");
	assert_int_equal(served_enter(&opts, &reader), BEAM_E_DENIED);
	opts = served_ticket(&rig, "127.0.0.1");
	opts.key[0] ^= 1;
	assert_int_equal(served_enter(&opts, &reader), BEAM_E_DENIED);
	while (rig.status.tickets_denied < 3)
		assert_true(rig_next(&rig, 5000) >= 0);
	assert_true(rig_close(&rig));
}

/* Waits long enough for the daemon's chores, processing its messages. */
static void let_chores_run(struct rig *rig)
{
	uint64_t end = beam_now_ms() + 2500;

	while (beam_now_ms() < end)
		rig_next(rig, (int)(end - beam_now_ms()) + 1);
}

static void image_lives_while_it_is_read(void **state)
{
	struct beam_reader_event event;
	struct beam_reader *reader;
	struct rig rig;

	(void)state;
	open_served(&rig, 64);
	struct beam_reader_opts opts = served_ticket(&rig, "127.0.0.1");
	struct beam_gen older = opts.gen;

	assert_int_equal(served_enter(&opts, &reader), 0);
	/* A newer image; the region has room for both. */
	save_memory(&rig, 2);
	let_chores_run(&rig);
	assert_int_equal(beam_tcp_reader.check(reader), 0);
	served_next(reader, &event, BEAM_READER_VALID);
	beam_tcp_reader.close(&reader, 0, 0);
	let_chores_run(&rig);
	rig.status.servable = older;
	opts = served_ticket(&rig, "127.0.0.1");
	assert_int_equal(served_enter(&opts, &reader), BEAM_E_STALE);
	assert_true(rig_close(&rig));
}

static void pull_is_ended_when_its_memory_is_needed(void **state)
{
	struct beam_reader_event event;
	struct beam_reader *reader;
	struct rig rig;
	int n;

	(void)state;
	open_served(&rig, 16); /* holds one image, not two */
	struct beam_reader_opts opts = served_ticket(&rig, "127.0.0.1");

	assert_int_equal(served_enter(&opts, &reader), 0);
	save_memory(&rig, 2);
	do {
		n = beam_tcp_reader.next(reader, &event, 5000);
	} while (n == 1);
	assert_int_equal(n, BEAM_E_STALE);
	beam_tcp_reader.close(&reader, 0, 0);
	assert_int_equal(rig.status.servable.counter, 2);
	/* A ticket for the image that is gone. */
	opts = served_ticket(&rig, "127.0.0.1");
	save_memory(&rig, 3);
	assert_int_equal(served_enter(&opts, &reader), BEAM_E_STALE);
	assert_true(rig_close(&rig));
}

/* ---- what is kept while the next image is made ---------------------------------------------- */

#define OTHER "0000000000000000000000000000000000000008"

/* Returns whether a ticket for `gen` is accepted while the next image is being made. */
static int enter_during(struct rig *rig, const struct save *next, struct beam_gen gen)
{
	char reason[BEAM_TEXT_BYTES];
	struct beam_reader *reader;
	int err;
	struct beam_lane *lane = rig_begin(rig, next, -1, false, &err, reason);

	assert_non_null(lane);
	rig->status.servable = gen;
	struct beam_reader_opts opts = served_ticket(rig, "127.0.0.1");
	int rc = served_enter(&opts, &reader);

	if (!rc)
		beam_tcp_reader.close(&reader, 0, 0);
	beam_lane_abort(lane, BEAM_E_ABORTED, "the test says so");
	beam_lane_close(&lane);
	return rc;
}

static void image_that_nobody_can_go_on_from_gives_its_memory_to_the_next(void **state)
{
	static const struct {
		const char *replid, *next;
		int64_t backlog_first;
		int want;
	} cases[] = {
	    {NULL, NULL, 0, 0},
	    {NULL, NULL, 4712, 0},
	    {NULL, NULL, 4713, BEAM_E_STALE},
	    {"", NULL, 0, BEAM_E_STALE},
	    {"", "", 0, BEAM_E_STALE},
	    {NULL, OTHER, 0, BEAM_E_STALE},
	    {NULL, "", 9999, 0}, /* lacking a position in the stream proves nothing */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct save first = memory, next = memory;
		struct rig rig;

		first.replid = cases[i].replid;
		next.replid = cases[i].next;
		next.backlog_first = cases[i].backlog_first;
		served_open(&rig, 64);
		assert_int_equal(rig_reap(rig_save(&rig, &first)), 0);
		assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
		assert_int_equal(enter_during(&rig, &next, rig.status.servable), cases[i].want);
		assert_true(rig_close(&rig));
	}
}

static void image_that_a_broken_pull_may_come_again_for_is_kept(void **state)
{
	struct save first = memory;
	struct rig rig;

	(void)state;
	served_open(&rig, 64);
	first.replid = "";
	assert_int_equal(rig_reap(rig_save(&rig, &first)), 0);
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	struct beam_gen gen = rig.status.servable;
	struct beam_reader_opts opts = served_ticket(&rig, "127.0.0.1");
	pid_t pid = fork();

	if (!pid) {
		struct beam_reader *reader;

		_exit(served_enter(&opts, &reader) ? 1 : 0); /* without a DONE */
	}
	assert_int_equal(rig_reap(pid), 0);
	while (!rig.status.pulls_total || rig.status.pulls_active)
		assert_true(rig_next(&rig, 5000) >= 0);
	assert_int_equal(enter_during(&rig, &memory, gen), 0);
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pull_gets_the_image),
	    cmocka_unit_test(numbers_that_move_are_on_the_page_and_news_are_told),
	    cmocka_unit_test(ticket_is_good_once_and_from_one_address),
	    cmocka_unit_test(image_lives_while_it_is_read),
	    cmocka_unit_test(pull_is_ended_when_its_memory_is_needed),
	    cmocka_unit_test(image_that_nobody_can_go_on_from_gives_its_memory_to_the_next),
	    cmocka_unit_test(image_that_a_broken_pull_may_come_again_for_is_kept),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
