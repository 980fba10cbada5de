/* SPDX-License-Identifier: BSD-3-Clause
 * Injects a fault at the first passage of each fault point that the daemon and its waiter pass
 * during a save, one run each: either the save succeeds with a complete dump, or it fails and the
 * old dump is still there. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "daemon_rig.h"

#define KEYS 80 /* 5 MiB: 5 segments */

/* Slots of the region: enough for the whole image, or so few that they are reused. */
#define LARGE 16
#define SMALL 4

static const struct save disk = {.kind = BEAM_SNAPSHOT_DISK,
				 .estimate_bytes = KEYS * 65536ull + 2 * RIG_SEGMENT_BYTES,
				 .nkeys = KEYS,
				 .name = "dump.rdb"};

/* Lists the points that a save without faults passes. */
static int points(bool of_daemon, uint32_t slots, char names[RIG_POINTS_MAX][RIG_POINT_BYTES])
{
	struct rig rig;

	assert_true(rig_open(&rig, slots, NULL));
	assert_int_equal(rig_reap(rig_save(&rig, &disk)), 0);
	int n = rig_points_passed(&rig, of_daemon, names);

	assert_true(rig_close(&rig));
	if (!n)
		skip();
	return n;
}

static void check_end(struct rig *rig, int status, int *failures)
{
	bool done = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (done)
		assert_true(rig_verify(rig, "dump.rdb", KEYS));
	else
		(*failures)++;
	/* A waiter killed after the rename has replaced the old dump by a complete one. */
	if (!done && !rig_old_dump_is_there(rig)) {
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 1);
		assert_true(rig_verify(rig, "dump.rdb", KEYS));
	}
	assert_true(rig_close(rig));
}

static void sweep_daemon(const char *action, uint32_t slots)
{
	char names[RIG_POINTS_MAX][RIG_POINT_BYTES];
	int n = points(true, slots, names), failures = 0;

	for (int i = 0; i < n; i++) {
		char fault[RIG_POINT_BYTES + 24];
		struct rig rig;

		snprintf(fault, sizeof(fault), "%s:1:%s", names[i], action);
		assert_true(rig_open(&rig, slots, fault));
		assert_true(rig_write_old_dump(&rig));
		int status = rig_reap(rig_save(&rig, &disk));

		assert_true(WIFEXITED(status));
		assert_int_equal(rig_files(&rig), 1);
		if (WEXITSTATUS(status))
			assert_true(rig_old_dump_is_there(&rig));
		check_end(&rig, status, &failures);
	}
	assert_true(failures > 0);
}

static void sweep_waiter(const char *action)
{
	char names[RIG_POINTS_MAX][RIG_POINT_BYTES];
	int n = points(false, LARGE, names), failures = 0;

	for (int i = 0; i < n; i++) {
		struct save save = disk;
		char fault[RIG_POINT_BYTES + 24];
		struct rig rig;

		snprintf(fault, sizeof(fault), "%s:1:%s", names[i], action);
		save.waiter_fault = fault;
		assert_true(rig_open(&rig, LARGE, NULL));
		assert_true(rig_write_old_dump(&rig));
		check_end(&rig, rig_reap(rig_save(&rig, &save)), &failures);
	}
	assert_true(failures > 0);
}

static void daemon_killed_at_each_point(void **state)
{
	(void)state;
	sweep_daemon("kill", LARGE);
	sweep_daemon("kill", SMALL);
}

static void daemon_fails_at_each_point(void **state)
{
	(void)state;
	sweep_daemon("errno=EIO", LARGE);
	sweep_daemon("errno=EIO", SMALL);
}

static void waiter_killed_at_each_point(void **state)
{
	(void)state;
	sweep_waiter("kill");
}

static void waiter_fails_at_each_point(void **state)
{
	(void)state;
	sweep_waiter("errno=EIO");
}

/* The daemon dies, and the waiter fails while it writes by itself: there must never be an
 * incomplete dump. */
static void sweep_rescue(uint32_t slots)
{
	char names[RIG_POINTS_MAX][RIG_POINT_BYTES];
	int failures = 0, n = points(false, LARGE, names) + 2 * 5 + 12;

	for (int i = 1; i <= n; i++) {
		struct save save = disk;
		char fault[64];
		struct rig rig;

		snprintf(fault, sizeof(fault), "*:%d:errno=EIO", i);
		save.waiter_fault = fault;
		assert_true(rig_open(&rig, slots, NULL));
		/* Slower than the kill, but with a small region not too slow for the copy. */
		rig.config.flush_rate_limit = slots == LARGE ? 64 << 10 : 8 << 20;
		rig_configure(&rig);
		assert_true(rig_write_old_dump(&rig));
		pid_t pid = rig_save(&rig, &save);

		assert_true(rig_wait_state(&rig, BEAM_STATE_FLUSHING, 1));
		kill(rig.daemon, SIGKILL);
		check_end(&rig, rig_reap(pid), &failures);
	}
	assert_true(failures > 5);
	assert_true(failures < n);
}

static void rescue_fails_at_each_point(void **state)
{
	(void)state;
	sweep_rescue(LARGE);
	sweep_rescue(SMALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(daemon_killed_at_each_point),
	    cmocka_unit_test(daemon_fails_at_each_point),
	    cmocka_unit_test(waiter_killed_at_each_point),
	    cmocka_unit_test(waiter_fails_at_each_point),
	    cmocka_unit_test(rescue_fails_at_each_point),
	};

#ifndef RDBEAM_FAULTS
	fputs("needs a build with RDBEAM_FAULTS\n", stderr);
	return 77;
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
