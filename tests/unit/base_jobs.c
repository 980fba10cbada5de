/* SPDX-License-Identifier: BSD-3-Clause
 * The pool of worker threads: all jobs come back, run or not, depending on how the pool was
 * ended. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "jobs.h"

#define NJOBS 200

struct counted {
	struct beam_job job;
	int times;
};

static void count(struct beam_job *job)
{
	((struct counted *)job)->times++;
}

static uint32_t take_all(struct beam_jobs *jobs)
{
	uint32_t n = 0;

	while (beam_jobs_done(jobs))
		n++;
	return n;
}

static void give_all(struct beam_jobs *jobs, struct counted *counted)
{
	for (int i = 0; i < NJOBS; i++) {
		counted[i] = (struct counted){.job.work = count};
		beam_jobs_give(jobs, &counted[i].job);
	}
}

static void each_comes_back_worked_once(void **state)
{
	struct counted counted[NJOBS];
	struct beam_jobs *jobs;
	uint32_t n = 0;

	(void)state;
	assert_int_equal(beam_jobs_open(3, &jobs), 0);
	struct pollfd pfd = {.fd = beam_jobs_fd(jobs), .events = POLLIN};

	assert_null(beam_jobs_done(jobs));
	give_all(jobs, counted);
	while (n < NJOBS) {
		assert_int_equal(poll(&pfd, 1, 20000), 1);
		n += take_all(jobs);
	}
	assert_int_equal(poll(&pfd, 1, 0), 0); /* all finished jobs have been taken */
	beam_jobs_stop(jobs);
	assert_null(beam_jobs_done(jobs));
	beam_jobs_close(&jobs);
	assert_null(jobs);
	for (int i = 0; i < NJOBS; i++)
		assert_int_equal(counted[i].times, 1);
}

static void one_thread_keeps_the_order(void **state)
{
	struct counted counted[NJOBS];
	struct beam_jobs *jobs;

	(void)state;
	assert_int_equal(beam_jobs_open(1, &jobs), 0);
	give_all(jobs, counted);
	beam_jobs_finish(jobs);
	for (int i = 0; i < NJOBS; i++) {
		assert_ptr_equal(beam_jobs_done(jobs), &counted[i].job);
		assert_int_equal(counted[i].times, 1);
	}
	assert_null(beam_jobs_done(jobs));
	beam_jobs_close(&jobs);
}

static atomic_int may_end, begun;

static void wait_to_end(struct beam_job *job)
{
	(void)job;
	atomic_store(&begun, 1);
	while (!atomic_load(&may_end))
		continue;
}

/* The scheduler decides whether the other jobs have begun when the stop comes. They come back in
 * any case, and none was begun before an earlier one. */
static void stop_gives_back_what_was_not_begun(void **state)
{
	struct counted counted[NJOBS], first = {.job.work = wait_to_end};
	struct beam_jobs *jobs;

	(void)state;
	assert_int_equal(beam_jobs_open(1, &jobs), 0);
	beam_jobs_give(jobs, &first.job);
	while (!atomic_load(&begun))
		continue;
	give_all(jobs, counted);
	atomic_store(&may_end, 1);
	beam_jobs_stop(jobs);
	assert_int_equal(take_all(jobs), NJOBS + 1);
	for (int i = 0; i < NJOBS; i++) {
		assert_true(counted[i].times <= 1);
		assert_true(i == 0 || counted[i].times <= counted[i - 1].times);
	}
	beam_jobs_close(&jobs);
	beam_jobs_close(&jobs); /* harmless */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_comes_back_worked_once),
	    cmocka_unit_test(one_thread_keeps_the_order),
	    cmocka_unit_test(stop_gives_back_what_was_not_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
