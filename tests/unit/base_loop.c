/* SPDX-License-Identifier: BSD-3-Clause
 * The event loop: order and time of timers, and watches that are added and removed by callbacks. */
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
	struct beam_loop *loop;
	struct beam_watch *watches[2];
	struct beam_timer *timers[4];
	int pipes[2][2];
	char order[16];
	unsigned calls;
	uint64_t started_ms;
};

/* A callback's argument: identifies one of the fixture's watches or timers. */
struct tag {
	struct fixture *f;
	unsigned number;
};

static int setup(void **state)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	assert_int_equal(beam_loop_open(&fixture.loop), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pipe2(fixture.pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
	fixture.started_ms = beam_now_ms();
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	beam_loop_close(&f->loop);
	assert_null(f->loop);
	beam_loop_close(&f->loop); /* accepts NULL */
	for (int i = 0; i < 2; i++) {
		close(f->pipes[i][0]);
		close(f->pipes[i][1]);
	}
	return 0;
}

static void write_down(struct fixture *f, unsigned number)
{
	f->order[f->calls++] = (char)('0' + number);
}

static void on_timer(void *arg)
{
	struct tag *tag = arg;

	assert_null(tag->f->timers[tag->number]); /* cleared before the call */
	write_down(tag->f, tag->number);
	if (tag->number == 3)
		beam_loop_stop(tag->f->loop);
}

static void test_timers_fire_in_order_and_not_early(void **state)
{
	struct fixture *f = *state;
	struct tag tags[4] = {{f, 0}, {f, 1}, {f, 2}, {f, 3}};
	static const unsigned after_ms[4] = {20, 0, 10, 30};

	for (int i = 0; i < 4; i++)
		assert_int_equal(
		    beam_timer_set(f->loop, after_ms[i], on_timer, &tags[i], &f->timers[i]), 0);
	assert_int_equal(beam_loop_run(f->loop), 0);
	assert_string_equal(f->order, "1203");
	assert_true(beam_now_ms() - f->started_ms >= 30);
}

static void test_timer_can_be_moved_and_cancelled(void **state)
{
	struct fixture *f = *state;
	struct tag tags[4] = {{f, 0}, {f, 1}, {f, 2}, {f, 3}};

	assert_int_equal(beam_timer_set(f->loop, 1, on_timer, &tags[0], &f->timers[0]), 0);
	assert_int_equal(beam_timer_set(f->loop, 2, on_timer, &tags[1], &f->timers[1]), 0);
	assert_int_equal(beam_timer_set(f->loop, 10, on_timer, &tags[3], &f->timers[3]), 0);
	/* The timer was moved, not added twice: it fires after 1. */
	assert_int_equal(beam_timer_set(f->loop, 5, on_timer, &tags[0], &f->timers[0]), 0);
	assert_int_equal(beam_timer_set(f->loop, 3, on_timer, &tags[2], &f->timers[2]), 0);
	beam_timer_cancel(&f->timers[2]);
	assert_null(f->timers[2]);
	beam_timer_cancel(&f->timers[2]);
	assert_int_equal(beam_loop_run(f->loop), 0);
	assert_string_equal(f->order, "103");
}

static void on_timer_that_cancels(void *arg)
{
	struct tag *tag = arg;

	write_down(tag->f, tag->number);
	beam_timer_cancel(&tag->f->timers[1]);
}

static void test_timer_may_cancel_another_that_is_due(void **state)
{
	struct fixture *f = *state;
	struct tag tags[4] = {{f, 0}, {f, 1}, {f, 2}, {f, 3}};

	beam_timer_set(f->loop, 0, on_timer_that_cancels, &tags[0], &f->timers[0]);
	beam_timer_set(f->loop, 0, on_timer, &tags[1], &f->timers[1]);
	beam_timer_set(f->loop, 0, on_timer, &tags[3], &f->timers[3]);
	assert_int_equal(beam_loop_run(f->loop), 0);
	assert_string_equal(f->order, "03");
}

static void on_byte(int fd, uint32_t events, void *arg)
{
	struct tag *tag = arg;
	char byte;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(fd, &byte, 1), 1);
	write_down(tag->f, tag->number);
	if (byte == 's')
		beam_loop_stop(tag->f->loop);
}

static void test_watch_is_level_triggered(void **state)
{
	struct fixture *f = *state;
	struct tag tag = {f, 0};

	assert_int_equal(
	    beam_watch_add(f->loop, f->pipes[0][0], EPOLLIN, on_byte, &tag, &f->watches[0]), 0);
	/* Each call reads one byte; what is left is reported again. */
	assert_int_equal(write(f->pipes[0][1], "xxs", 3), 3);
	assert_int_equal(beam_loop_run(f->loop), 0);
	assert_string_equal(f->order, "000");
}

/* Both watches are ready in the same batch; the first to run removes both and stops. */
static void on_byte_remove_all(int fd, uint32_t events, void *arg)
{
	struct tag *tag = arg;

	(void)fd;
	(void)events;
	write_down(tag->f, 0);
	beam_watch_remove(&tag->f->watches[0]);
	beam_watch_remove(&tag->f->watches[1]);
	assert_null(tag->f->watches[1]);
}

static void test_no_call_after_removal_in_the_same_batch(void **state)
{
	struct fixture *f = *state;
	struct tag tag = {f, 0}, stop = {f, 3};

	for (int i = 0; i < 2; i++) {
		assert_int_equal(beam_watch_add(f->loop, f->pipes[i][0], EPOLLIN,
						on_byte_remove_all, &tag, &f->watches[i]),
				 0);
		assert_int_equal(write(f->pipes[i][1], "x", 1), 1);
	}
	beam_timer_set(f->loop, 5, on_timer, &stop, &f->timers[3]);
	assert_int_equal(beam_loop_run(f->loop), 0);
	assert_string_equal(f->order, "03");
}

static void test_modify_masks_events(void **state)
{
	struct fixture *f = *state;
	struct tag tag = {f, 0}, stop = {f, 3};

	assert_int_equal(
	    beam_watch_add(f->loop, f->pipes[0][0], EPOLLIN, on_byte, &tag, &f->watches[0]), 0);
	assert_int_equal(write(f->pipes[0][1], "s", 1), 1);
	assert_int_equal(beam_watch_modify(f->watches[0], 0), 0);
	beam_timer_set(f->loop, 5, on_timer, &stop, &f->timers[3]);
	assert_int_equal(beam_loop_run(f->loop), 0);
	assert_string_equal(f->order, "3");
	assert_int_equal(beam_watch_modify(f->watches[0], EPOLLIN), 0);
	assert_int_equal(beam_loop_run(f->loop), 0);
	assert_string_equal(f->order, "30");
}

static void test_bad_fd_is_refused(void **state)
{
	struct fixture *f = *state;
	struct beam_watch *watch = NULL;

	assert_true(beam_watch_add(f->loop, -1, EPOLLIN, on_byte, NULL, &watch) < 0);
	assert_null(watch);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_timers_fire_in_order_and_not_early),
	    TEST(test_timer_can_be_moved_and_cancelled),
	    TEST(test_timer_may_cancel_another_that_is_due),
	    TEST(test_watch_is_level_triggered),
	    TEST(test_no_call_after_removal_in_the_same_batch),
	    TEST(test_modify_masks_events),
	    TEST(test_bad_fd_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
