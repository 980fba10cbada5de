/* SPDX-License-Identifier: BSD-3-Clause
 * Images larger than the region: slots are reused as the disk and the pulls finish with them. With
 * the real daemon. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crc64.h"
#include "daemon_served.h"
#include "rdbeam/error.h"

#define KEYS     600         /* 37.5 MiB: 21 segments, with header and last */
#define SEGMENTS 8           /* of the region */
#define SLOW     (20u << 20) /* bytes per second to the disk */

static const struct save disk = {.kind = BEAM_SNAPSHOT_DISK,
				 .estimate_bytes = KEYS * 65536ull + 2 * RIG_SEGMENT_BYTES,
				 .nkeys = KEYS,
				 .name = "dump.rdb"};

static void exits(pid_t pid, int code)
{
	int status = rig_reap(pid);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static void large_image_goes_through_a_small_region(void **state)
{
	struct save save = disk;
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, SEGMENTS, NULL));
	for (uint64_t n = 1; n <= 4; n++) {
		save.worker = n % 2;
		exits(rig_save(&rig, &save), 0);
		assert_true(rig_wait_state(&rig, BEAM_STATE_READY, n));
		assert_true(rig_verify(&rig, "dump.rdb", KEYS));
		assert_true(rig.status.region_bytes <= SEGMENTS * RIG_SEGMENT_BYTES);
		assert_int_equal(rig.status.servable.counter, 0);
		assert_int_equal(rig.status.flushed_bytes, rig.status.image_bytes);
	}
	assert_int_equal(rig_files(&rig), 1);
	assert_true(rig_close(&rig));
}

static void estimate_that_was_too_low_is_made_up_for(void **state)
{
	struct save save = disk;
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, SEGMENTS, NULL));
	save.estimate_bytes = 1;
	exits(rig_save(&rig, &save), 0);
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_true(rig_close(&rig));
}

/* A region that turns out to hold the image is not reused, and the image is retained. */
static void estimate_that_was_too_high_costs_nothing(void **state)
{
	struct save save = disk;
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, SEGMENTS, NULL));
	save.nkeys = 100;
	exits(rig_save(&rig, &save), 0);
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	assert_int_equal(rig.status.servable.counter, 1);
	assert_true(rig_close(&rig));
}

static void region_of_too_few_slots_is_refused(void **state)
{
	struct save save = disk;
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 6, NULL)); /* 2 workers need 7 */
	assert_true(rig_write_old_dump(&rig));
	save.worker = true;
	exits(rig_save(&rig, &save), RIG_EXIT_REFUSED);
	while (!strstr(rig.status.last_error, "rdbeam.region-size"))
		assert_true(rig_next(&rig, 5000) >= 0);
	assert_true(rig_old_dump_is_there(&rig));
	save.worker = false;
	exits(rig_save(&rig, &save), 0);
	assert_true(rig_close(&rig));
}

/* Nothing else is on its way to the disk whose completion would wake the daemon. */
static void write_that_cannot_be_queued_ends_the_copy(void **state)
{
	struct save save = disk;
	char reason[BEAM_TEXT_BYTES];
	struct rig rig;
	uint32_t first;
	uint8_t *base;
	int err;

	(void)state;
#ifndef RDBEAM_FAULTS
	skip();
#endif
	save.estimate_bytes = 1;
	assert_true(rig_open(&rig, SEGMENTS, "disk.queue:1:errno=ENOMEM"));
	int file = openat(rig.dirfd, "unfinished", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	struct beam_lane *lane = rig_begin(&rig, &save, file, false, &err, reason);

	assert_non_null(lane);
	const struct beam_segment_source *source = beam_lane_source(lane);

	assert_int_equal(source->claim(source->ctx, SEGMENTS + 1, &first), 0);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		assert_int_equal(source->slot(source->ctx, i, &base), 0);
	assert_int_equal(source->seal(source->ctx, 0, RIG_SEGMENT_BYTES, 0), 0);
	alarm(20);
	assert_true(source->slot(source->ctx, SEGMENTS, &base) < 0);
	alarm(0);
	assert_non_null(strstr(beam_lane_failure(lane), "Cannot allocate memory"));
	beam_lane_close(&lane);
	close(file);
	assert_true(rig_close(&rig));
}

/* ---- readers ------------------------------------------------------------------------------ */

/* Starts a save with a slow disk, and a pull that is there from its beginning. */
static pid_t save_with_puller(struct rig *rig, struct beam_reader **reader)
{
	served_open(rig, SEGMENTS);
	rig->config.flush_rate_limit = SLOW;
	rig->config.stall_timeout_s = 1;
	rig_configure(rig);
	pid_t pid = rig_save(rig, &disk);

	while (!rig->status.servable.counter)
		assert_true(rig_next(rig, 5000) >= 0);
	struct beam_reader_opts opts = served_ticket(rig, "127.0.0.1");

	assert_int_equal(served_enter(&opts, reader), 0);
	return pid;
}

/* A pull that reads one segment after the other. */
struct pull {
	struct beam_reader *reader;
	struct beam_wire_sealed sealed[64];
	uint32_t nsealed, nread;
	bool reading;
	struct beam_wire_complete whole;
	uint64_t bytes;
};

static void post(struct pull *pull, uint8_t *buf)
{
	const struct beam_wire_sealed *next = &pull->sealed[pull->nread];

	if (pull->reading || pull->nread == pull->nsealed)
		return;
	assert_int_equal(
	    beam_tcp_reader.read(pull->reader, next->index, 0, buf, next->len_bytes, next->index),
	    0);
	pull->reading = true;
}

static void take_event(struct pull *pull, const uint8_t *buf)
{
	const struct beam_wire_sealed *read = &pull->sealed[pull->nread];
	struct beam_reader_event event;

	assert_int_equal(beam_tcp_reader.next(pull->reader, &event, 5000), 1);
	if (event.type == BEAM_READER_COMPLETE) {
		pull->whole = event.complete;
	} else if (event.type == BEAM_READER_SEALED) {
		assert_true(pull->nsealed < 64);
		pull->sealed[pull->nsealed++] = event.sealed;
	} else {
		assert_int_equal(event.type, BEAM_READER_DONE);
		assert_int_equal(event.cookie, read->index);
		assert_true(beam_crc64(0, buf, read->len_bytes) == read->crc);
		beam_tcp_reader.taken(pull->reader, read->index);
		pull->bytes += read->len_bytes;
		pull->reading = false;
		pull->nread++;
	}
}

/* The CRC of the whole image, which ends with the CRC of all before it: 0. */
static uint64_t image_crc(const struct pull *pull)
{
	uint64_t crc = 0;

	for (uint32_t i = 0; i < pull->nread; i++) {
		struct beam_crc64_shift shift;
		uint32_t at = 0;

		while (pull->sealed[at].index != i)
			assert_true(++at < pull->nread);
		beam_crc64_shift_init(&shift, pull->sealed[at].len_bytes);
		crc = beam_crc64_append(crc, pull->sealed[at].crc, &shift);
	}
	return crc;
}

static void attached_pull_gets_the_whole_image(void **state)
{
	static uint8_t buf[RIG_SEGMENT_BYTES];
	struct pull pull = {0};
	struct rig rig;

	(void)state;
	pid_t pid = save_with_puller(&rig, &pull.reader);

	while (!pull.whole.nsegments || pull.nread < pull.whole.nsegments) {
		post(&pull, buf);
		take_event(&pull, buf);
	}
	assert_true(pull.nread > 2 * SEGMENTS);
	assert_int_equal(pull.bytes, pull.whole.image_bytes);
	assert_int_equal(image_crc(&pull), 0);
	beam_tcp_reader.close(&pull.reader, pull.bytes, 1);
	exits(pid, 0);
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_true(rig_close(&rig));
}

static void reader_that_stalls_is_dropped_and_told(void **state)
{
	struct beam_reader_event event;
	struct beam_reader *reader;
	struct rig rig;
	int n;

	(void)state;
	pid_t pid = save_with_puller(&rig, &reader);

	do {
		n = beam_tcp_reader.next(reader, &event, 10000);
	} while (n == 1);
	assert_int_equal(n, BEAM_E_STALE);
	assert_non_null(strstr(beam_tcp_reader.error(reader), "rdbeam.stall-timeout"));
	beam_tcp_reader.close(&reader, 0, 0);
	exits(pid, 0);
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_true(rig_close(&rig));
}

static void segment_that_was_taken_is_not_read_again(void **state)
{
	static uint8_t buf[RIG_SEGMENT_BYTES];
	struct beam_reader_event event;
	struct beam_reader *reader;
	struct rig rig;
	int n;

	(void)state;
	pid_t pid = save_with_puller(&rig, &reader);

	served_next(reader, &event, BEAM_READER_SEALED);
	uint32_t index = event.sealed.index;

	assert_int_equal(beam_tcp_reader.read(reader, index, 0, buf, RIG_SEGMENT_BYTES, 1), 0);
	beam_tcp_reader.taken(reader, index);
	assert_int_equal(beam_tcp_reader.read(reader, index, 0, buf, RIG_SEGMENT_BYTES, 2), 0);
	do {
		n = beam_tcp_reader.next(reader, &event, 5000);
		assert_false(n == 1 && event.type == BEAM_READER_DONE && event.cookie == 2);
	} while (n == 1);
	assert_int_equal(n, BEAM_E_STALE);
	beam_tcp_reader.close(&reader, 0, 0);
	exits(pid, 0);
	assert_true(rig_close(&rig));
}

static void late_pull_is_refused(void **state)
{
	struct beam_reader *reader;
	struct rig rig;

	(void)state;
	served_open(&rig, SEGMENTS);
	exits(rig_save(&rig, &disk), 0);
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	assert_int_equal(rig.status.servable.counter, 0);
	rig.status.servable = rig.status.gen;
	struct beam_reader_opts opts = served_ticket(&rig, "127.0.0.1");

	assert_int_equal(served_enter(&opts, &reader), BEAM_E_STALE);
	assert_true(rig_close(&rig));
}

/* ---- the daemon's death ------------------------------------------------------------------- */

static void daemon_killed_in_mid_copy_ends_the_copy(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, SEGMENTS, NULL));
	rig.config.flush_rate_limit = SLOW;
	rig_configure(&rig);
	assert_true(rig_write_old_dump(&rig));
	pid_t pid = rig_save(&rig, &disk);

	while (rig.status.flushed_bytes < SEGMENTS * RIG_SEGMENT_BYTES / 2)
		assert_true(rig_next(&rig, 5000) >= 0);
	kill(rig.daemon, SIGKILL);
	exits(pid, RIG_EXIT_COPY);
	assert_true(rig_old_dump_is_there(&rig));
	assert_true(rig_close(&rig));
}

static void waiter_takes_what_is_gone_from_the_file(void **state)
{
	static const int signals[] = {SIGKILL, SIGSTOP};

	(void)state;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct rig rig;

		assert_true(rig_open(&rig, SEGMENTS, NULL));
		rig.config.flush_rate_limit = SLOW;
		rig_configure(&rig);
		pid_t pid = rig_save(&rig, &disk);

		assert_true(rig_wait_state(&rig, BEAM_STATE_FLUSHING, 1));
		kill(rig.daemon, signals[i]);
		exits(pid, 0);
		kill(rig.daemon, SIGCONT);
		assert_true(rig_verify(&rig, "dump.rdb", KEYS));
		assert_int_equal(rig_files(&rig), 1);
		assert_true(rig_close(&rig));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(large_image_goes_through_a_small_region),
	    cmocka_unit_test(estimate_that_was_too_low_is_made_up_for),
	    cmocka_unit_test(estimate_that_was_too_high_costs_nothing),
	    cmocka_unit_test(region_of_too_few_slots_is_refused),
	    cmocka_unit_test(write_that_cannot_be_queued_ends_the_copy),
	    cmocka_unit_test(attached_pull_gets_the_whole_image),
	    cmocka_unit_test(reader_that_stalls_is_dropped_and_told),
	    cmocka_unit_test(segment_that_was_taken_is_not_read_again),
	    cmocka_unit_test(late_pull_is_refused),
	    cmocka_unit_test(daemon_killed_in_mid_copy_ends_the_copy),
	    cmocka_unit_test(waiter_takes_what_is_gone_from_the_file),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
