/* SPDX-License-Identifier: BSD-3-Clause
 * How long a pull bears a server that completes no read: by a clock of this test's own. */
#include <stdbool.h>
#include <string.h>

#include "clock.h"
#include "fetch.h"
#include "rdbeam/error.h"
#include "redis.h"

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
	bool sends; /* bytes, if not enough for an event */
	bool welcomed;
};

/* A second a call. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_silent_server_is_given_up),
	    cmocka_unit_test(a_slow_server_is_borne),
	};

	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
