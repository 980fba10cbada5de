/* SPDX-License-Identifier: BSD-3-Clause
 * rdbeamd where memory is short: it makes room for its server. */
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

static void exits_well(pid_t pid)
{
	int status = rig_reap(pid);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Long before the end of rdbeam.retain. */
static void short_memory_takes_the_image_that_nobody_reads(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, "daemon.memory:1:errno=ENOMEM"));
	exits_well(rig_save(&rig, &memory));
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	assert_true(rig.status.region_bytes > 0);
	assert_true(rig_wait_given_back(&rig, 1));
	exits_well(rig_save(&rig, &memory)); /* and the next one is made and kept as ever */
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 2));
	assert_true(rig_close(&rig));
}
#endif

/* The kernel ends it before the server, which goes on without it. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef RDBEAM_FAULTS
	    cmocka_unit_test(short_memory_takes_the_image_that_nobody_reads),
#endif
	    cmocka_unit_test(daemon_is_the_first_to_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
