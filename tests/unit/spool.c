/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The stream's buffer: order across memory and file, wrapping, the size limit, and nothing left on
 * disk.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdbeam/error.h"
#include "spool.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MEMORY 1000
#define SPILL  3000

/* Byte i of the stream; 251 is prime to both ring sizes, so a wrong offset is detected. */
static uint8_t stream_byte(uint64_t i)
{
	return (uint8_t)(i % 251);
}

struct ends {
	struct beam_spool *spool;
	uint64_t in, out;
};

static int put(struct ends *e, size_t len)
{
	uint8_t buf[MEMORY + SPILL + 1];

	assert_true(len <= sizeof(buf));
	for (size_t i = 0; i < len; i++)
		buf[i] = stream_byte(e->in + i);
	int rc = beam_spool_put(e->spool, buf, len);

	if (!rc)
		e->in += len;
	return rc;
}

/* Takes up to `cap` bytes and checks them. Returns how many. */
static size_t take(struct ends *e, size_t cap)
{
	uint8_t buf[MEMORY + SPILL];
	long n = beam_spool_get(e->spool, buf, cap);

	assert_true(n >= 0 && (size_t)n <= cap);
	for (long i = 0; i < n; i++)
		assert_int_equal(buf[i], stream_byte(e->out + (uint64_t)i));
	e->out += (uint64_t)n;
	return (size_t)n;
}

static char spill_dir[] = "/tmp/rdbeam-unit-spool-XXXXXX";

static int setup(void **state)
{
	static struct ends ends;

	ends = (struct ends){0};
	assert_int_equal(beam_spool_open(MEMORY, SPILL, spill_dir, &ends.spool), 0);
	*state = &ends;
	return 0;
}

static int teardown(void **state)
{
	struct ends *e = *state;

	beam_spool_close(&e->spool);
	assert_null(e->spool);
	return 0;
}

static void test_memory_alone_needs_no_file(void **state)
{
	struct ends *e = *state;

	for (int i = 0; i < 50; i++) {
		assert_int_equal(put(e, 700), 0);
		while (take(e, 333))
			continue;
	}
	assert_int_equal(e->out, 50 * 700);
	assert_int_equal(beam_spool_spilled(e->spool), 0);
}

static void test_a_full_spool_refuses_and_keeps_what_it_has(void **state)
{
	struct ends *e = *state;

	assert_int_equal(put(e, MEMORY + SPILL - 1), 0);
	assert_int_equal(put(e, 2), BEAM_E_FULL);
	assert_int_equal(put(e, 1), 0);
	assert_int_equal(put(e, 1), BEAM_E_FULL);
	assert_int_equal(beam_spool_length(e->spool), MEMORY + SPILL);
	assert_int_equal(beam_spool_spilled(e->spool), SPILL);
	while (take(e, 97))
		continue;
	assert_int_equal(e->out, MEMORY + SPILL);
	assert_int_equal(beam_spool_length(e->spool), 0);
}

/* When memory has room again while the file still holds older bytes, the order must be kept. */
static void test_order_holds_while_the_file_is_in_use(void **state)
{
	struct ends *e = *state;

	assert_int_equal(put(e, MEMORY + 500), 0);
	assert_int_equal(take(e, 400), 400);
	assert_int_equal(put(e, 300), 0);
	assert_int_equal(beam_spool_spilled(e->spool), 800);
	while (take(e, 4000))
		continue;
	assert_int_equal(e->out, e->in);
	assert_int_equal(put(e, 10), 0); /* the file is empty: memory is used again */
	assert_int_equal(beam_spool_spilled(e->spool), 800);
}

static void test_random_traffic_comes_out_as_it_went_in(void **state)
{
	struct ends *e = *state;
	unsigned refused = 0;

	srandom(7);
	for (int i = 0; i < 20000; i++) {
		if (put(e, (size_t)random() % 900) == BEAM_E_FULL)
			refused++;
		if (random() % 2)
			take(e, (size_t)random() % 1800);
	}
	while (take(e, 500))
		continue;
	assert_int_equal(e->out, e->in);
	assert_true(refused > 0);
	assert_true(beam_spool_spilled(e->spool) > 10 * SPILL);
}

static void test_nothing_is_left_in_the_directory(void **state)
{
	struct ends *e = *state;
	struct dirent *entry;
	unsigned files = 0;

	assert_int_equal(put(e, MEMORY + 10), 0);
	DIR *dir = opendir(spill_dir);

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		files += entry->d_name[0] != '.';
	closedir(dir);
	assert_int_equal(files, 0);
}

static void test_a_directory_that_is_not_there_is_an_error(void **state)
{
	struct ends gone = {0};

	(void)state;
	assert_int_equal(beam_spool_open(10, 100, "/nonexistent", &gone.spool), 0);
	assert_int_equal(put(&gone, 10), 0);
	assert_true(put(&gone, 1) < 0);
	beam_spool_close(&gone.spool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_memory_alone_needs_no_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_full_spool_refuses_and_keeps_what_it_has, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_order_holds_while_the_file_is_in_use, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_random_traffic_comes_out_as_it_went_in, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_nothing_is_left_in_the_directory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_directory_that_is_not_there_is_an_error, setup,
					    teardown),
	};

	if (!mkdtemp(spill_dir))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	rmdir(spill_dir);
	return failed;
}
