/* SPDX-License-Identifier: BSD-3-Clause
 * The status page: a reader always gets the last status published, complete, whatever is being
 * written meanwhile. */
#include "status_page.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void open_both(struct beam_status_page **module, struct beam_status_page **daemon)
{
	int fd = -1;

	assert_int_equal(beam_status_page_create(&fd, module), 0);
	assert_int_equal(beam_status_page_open(fd, daemon), 0);
	assert_true(ftruncate(fd, 1) < 0); /* nobody can truncate the memory under a reader */
	close(fd);
}

static void publish(struct beam_status_page *page, uint64_t number)
{
	struct beam_ctl_status *status = beam_status_page_next(page);

	memset(status, 0, sizeof(*status));
	status->keys = number;
	status->pulls_total = number;
	beam_status_page_publish(page);
}

static void each_number_is_read_once(void **state)
{
	struct beam_status_page *module, *daemon;
	struct beam_ctl_status status;
	uint64_t seen = 0;

	(void)state;
	open_both(&module, &daemon);
	assert_false(beam_status_page_read(module, &seen, &status));
	for (uint64_t n = 1; n <= 5; n++) {
		publish(daemon, n);
		assert_true(beam_status_page_read(module, &seen, &status));
		assert_int_equal(status.keys, n);
		assert_false(beam_status_page_read(module, &seen, &status));
	}
	beam_status_page_close(&module);
	beam_status_page_close(&daemon);
	assert_null(module);
}

static void daemon_that_stops_in_mid_write_is_not_seen(void **state)
{
	struct beam_status_page *module, *daemon;
	struct beam_ctl_status status;
	uint64_t seen = 0;

	(void)state;
	open_both(&module, &daemon);
	for (uint64_t n = 1; n <= 2; n++) {
		publish(daemon, n);
		memset(beam_status_page_next(daemon), 0xff, sizeof(status) / 2);
		assert_true(beam_status_page_read(module, &seen, &status));
		assert_int_equal(status.keys, n);
		assert_int_equal(status.pulls_total, n);
	}
	beam_status_page_close(&module);
	beam_status_page_close(&daemon);
}

static void strange_files_are_no_page(void **state)
{
	struct beam_status_page *page = NULL;
	int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(beam_status_page_open(fd, &page), -EINVAL); /* empty */
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(beam_status_page_open(fd, &page), -EINVAL);
	assert_int_equal(beam_status_page_open(STDIN_FILENO, &page), -EINVAL);
	assert_null(page);
	close(fd);
}

static void news_are_states_and_generations(void **state)
{
	struct beam_ctl_status a = {.state = BEAM_STATE_READY, .gen = {1, 2}}, b = a;

	(void)state;
	b.pulls_total = 7;
	b.keys = 3;
	assert_true(beam_status_same_news(&a, &b));
	b.state = BEAM_STATE_FAILED;
	assert_false(beam_status_same_news(&a, &b));
	b = a;
	b.gen.counter++;
	assert_false(beam_status_same_news(&a, &b));
	b = a;
	b.servable.counter++;
	assert_false(beam_status_same_news(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_number_is_read_once),
	    cmocka_unit_test(daemon_that_stops_in_mid_write_is_not_seen),
	    cmocka_unit_test(strange_files_are_no_page),
	    cmocka_unit_test(news_are_states_and_generations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
