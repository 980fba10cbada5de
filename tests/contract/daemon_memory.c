/* SPDX-License-Identifier: BSD-3-Clause
 * rdbeamd when memory is short: it makes room for its server, and its own lack of memory does not
 * cost a save. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "daemon_rig.h"

#define KEYS 200 /* 12.5 MiB */

#ifdef RDBEAM_FAULTS
static const struct save memory = {
    .kind = BEAM_SNAPSHOT_MEMORY, .estimate_bytes = KEYS * 65536ull, .nkeys = KEYS};

static const struct save disk = {.kind = BEAM_SNAPSHOT_DISK,
				 .estimate_bytes = KEYS * 65536ull,
				 .nkeys = KEYS,
				 .name = "dump.rdb"};

static cpu_set_t all_cpus;

/* With few processors the flush begins after the copy, and one thread faults memory in. */
static int on_one_cpu(void **state)
{
	cpu_set_t one;

	(void)state;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	return sched_getaffinity(0, sizeof(all_cpus), &all_cpus) ||
	       sched_setaffinity(0, sizeof(one), &one);
}

static int on_all_cpus(void **state)
{
	(void)state;
	return sched_setaffinity(0, sizeof(all_cpus), &all_cpus);
}

static void exits(pid_t pid, int code)
{
	int status = rig_reap(pid);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static void exits_well(pid_t pid)
{
	exits(pid, 0);
}

/* Long before rdbeam.retain is over. */
static void short_memory_takes_the_image_that_nobody_reads(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, "daemon.memory:1:errno=ENOMEM"));
	exits_well(rig_save(&rig, &memory));
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	assert_true(rig.status.region_bytes > 0);
	assert_true(rig_wait_given_back(&rig, 1));
	exits_well(rig_save(&rig, &memory)); /* and the next one is made and kept as usual */
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 2));
	assert_true(rig_close(&rig));
}

/* Rule 3: the image is complete by then, and needs nothing of the daemon's. */
static void save_with(const char *fault, const char *waiter_fault)
{
	struct save save = disk;
	struct rig rig;

	save.waiter_fault = waiter_fault;
	assert_true(rig_open(&rig, 64, fault));
	assert_true(rig_write_old_dump(&rig));
	exits_well(rig_save(&rig, &save));
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_int_equal(rig_files(&rig), 1);
	assert_true(rig_close(&rig));
}

static void write_without_memory_is_left_to_the_waiter(void **state)
{
	(void)state;
	save_with("disk.queue:1:errno=ENOMEM", NULL);
}

/* io_uring's result for a call that would block, if no thread can be had for it. */
static void fsync_without_a_thread_is_left_to_the_waiter(void **state)
{
	(void)state;
	save_with("disk.fsync:1:errno=ECANCELED", NULL);
}

/* As file systems in user space do that know no truncation, or writes in order alone. */
static void refused_ways_of_writing_are_left_to_the_waiter(void **state)
{
	(void)state;
	save_with("disk.trim:1:errno=EPERM", NULL);
	save_with("disk.write:1:errno=95", NULL); /* EOPNOTSUPP */
	save_with("disk.write:2:errno=29", NULL); /* ESPIPE */
	save_with(NULL, "file.link:1:errno=EPERM");
	save_with(NULL, "file.link:1:errno=13"); /* EACCES */
}

static void why_there_is_no_memory_is_told(void **state)
{
	char reason[BEAM_TEXT_BYTES];
	struct rig rig;
	uint32_t first;
	uint8_t *base;
	int err;

	(void)state;
	assert_true(rig_open(&rig, 64, "region.make:1:errno=EPERM"));
	struct beam_lane *lane = rig_begin(&rig, &memory, -1, false, &err, reason);

	assert_non_null(lane);
	/* If asked before it has seen the failure, the daemon would try again and succeed. */
	while (rig_next(&rig, 500) >= 0)
		;
	const struct beam_segment_source *source = beam_lane_source(lane);

	assert_int_equal(source->claim(source->ctx, 1, &first), 0);
	assert_true(source->slot(source->ctx, first, &base) < 0);
	assert_non_null(strstr(beam_lane_failure(lane), "Operation not permitted"));
	beam_lane_close(&lane);
	assert_true(rig_close(&rig));
}
#endif

/* The OOM killer takes it before the server, which goes on without it. */
static void daemon_is_the_first_to_go(void **state)
{
	char path[64], score[16] = "";
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)rig.daemon);
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_non_null(fgets(score, sizeof(score), file));
	fclose(file);
	assert_string_equal(score, "1000\n");
	assert_true(rig_close(&rig));
}

static void refused_segment_size_is_told_its_limit(void **state)
{
	char limit[32];
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 8, NULL));
	rig.config.segment_bytes = BEAM_SEGMENT_MAX + BEAM_SEGMENT_ALIGN;
	rig_configure(&rig);
	while (rig_next(&rig, 3000) != BEAM_CTL_READY)
		;
	snprintf(limit, sizeof(limit), "up to %umb", BEAM_SEGMENT_MAX >> 20);
	assert_non_null(strstr(rig.ready.error, limit));
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef RDBEAM_FAULTS
	    cmocka_unit_test(short_memory_takes_the_image_that_nobody_reads),
	    cmocka_unit_test_setup_teardown(write_without_memory_is_left_to_the_waiter, on_one_cpu,
					    on_all_cpus),
	    cmocka_unit_test(fsync_without_a_thread_is_left_to_the_waiter),
	    cmocka_unit_test_setup_teardown(refused_ways_of_writing_are_left_to_the_waiter,
					    on_one_cpu, on_all_cpus),
	    cmocka_unit_test_setup_teardown(why_there_is_no_memory_is_told, on_one_cpu,
					    on_all_cpus),
#endif
	    cmocka_unit_test(daemon_is_the_first_to_go),
	    cmocka_unit_test(refused_segment_size_is_told_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
