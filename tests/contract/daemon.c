/* SPDX-License-Identifier: BSD-3-Clause
 * What rdbeamd promises the module and the saving child, tested on the real program. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_rig.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define KEYS       200 /* 12.5 MiB: 9 segments, with header and last */
#define KEYS_BYTES (KEYS * 65536ull + 2 * RIG_SEGMENT_BYTES)

static const struct save disk = {
    .kind = BEAM_SNAPSHOT_DISK, .estimate_bytes = KEYS_BYTES, .nkeys = KEYS, .name = "dump.rdb"};
static const struct save memory = {
    .kind = BEAM_SNAPSHOT_MEMORY, .estimate_bytes = KEYS_BYTES, .nkeys = KEYS};

static void exits(pid_t pid, int code)
{
	int status = rig_reap(pid);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

/* ---- saves -------------------------------------------------------------------------------- */

static void disk_snapshot_becomes_the_dump(void **state)
{
	struct save with_worker = disk;
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	assert_true(rig_write_old_dump(&rig));
	exits(rig_save(&rig, &disk), 0);
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	assert_int_equal(rig.opened.gen.counter, 1);
	assert_int_equal(rig.opened.cut.offset, 4711);
	assert_int_equal(rig.status.keys, KEYS);
	assert_int_equal(rig.status.servable.counter, 1);
	assert_int_equal(rig.status.flushed_bytes, rig.status.image_bytes);
	assert_true(rig.status.last_durable_ms > 0);
	with_worker.worker = true;
	exits(rig_save(&rig, &with_worker), 0);
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_int_equal(rig_files(&rig), 1);
	assert_true(rig_close(&rig));
}

static void memory_snapshot_is_served_without_a_disk(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	exits(rig_save(&rig, &memory), 0);
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	assert_int_equal(rig.status.servable.counter, 1);
	assert_int_equal(rig.status.last_durable_ms, 0);
	assert_int_equal(rig_files(&rig), 0);
	assert_true(rig_close(&rig));
}

static void newer_image_retires_the_older(void **state)
{
	struct rig rig;

	(void)state;
	/* Room for one image and a little more: each save needs the slots of the previous one. */
	assert_true(rig_open(&rig, 16, NULL));
	for (uint64_t n = 1; n <= 5; n++) {
		exits(rig_save(&rig, &disk), 0);
		assert_true(rig_wait_state(&rig, BEAM_STATE_READY, n));
		assert_int_equal(rig.status.servable.counter, n);
	}
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_true(rig_close(&rig));
}

/* ---- failures before the copy is whole ---------------------------------------------------- */

static void full_region_refuses_with_a_remedy(void **state)
{
	char reason[BEAM_TEXT_BYTES];
	struct save large = memory;
	struct rig rig;
	int err;

	(void)state;
	assert_true(rig_open(&rig, 8, NULL));
	large.estimate_bytes = 8ull * RIG_SEGMENT_BYTES + 1;
	assert_null(rig_begin(&rig, &large, -1, false, &err, reason));
	assert_int_equal(err, BEAM_E_FULL);
	assert_non_null(strstr(reason, "rdbeam.region-size"));
	/* An estimate that was too low fails during the copy, and the slots are given back. */
	large.estimate_bytes = 1;
	exits(rig_save(&rig, &large), RIG_EXIT_COPY);
	assert_true(rig_wait_state(&rig, BEAM_STATE_FAILED, 1));
	large.nkeys = 100;
	exits(rig_save(&rig, &large), 0);
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 2));
	assert_true(rig_close(&rig));
}

static void abort_gives_the_slots_back(void **state)
{
	char reason[BEAM_TEXT_BYTES];
	struct save all = memory;
	struct rig rig;
	int err;

	(void)state;
	assert_true(rig_open(&rig, 16, NULL));
	all.estimate_bytes = 16ull * RIG_SEGMENT_BYTES;
	for (int i = 0; i < 3; i++) {
		struct beam_lane *lane = rig_begin(&rig, &all, -1, false, &err, reason);
		uint32_t first;
		uint8_t *base;

		assert_non_null(lane);
		const struct beam_segment_source *source = beam_lane_source(lane);

		assert_int_equal(source->claim(source->ctx, 16, &first), 0);
		assert_int_equal(source->slot(source->ctx, 15, &base), 0);
		beam_lane_abort(lane, BEAM_E_ABORTED, "the test says so");
		beam_lane_close(&lane);
		assert_true(rig_wait_state(&rig, BEAM_STATE_FAILED, (uint64_t)i + 1));
		assert_string_equal(rig.status.last_error, "the test says so");
	}
	assert_true(rig_close(&rig));
}

/* More slots are granted then than are wanted. The daemon must not take that for a need of
 * memory. */
static void claim_taken_back_does_not_grow_the_region(void **state)
{
	char reason[BEAM_TEXT_BYTES];
	struct save small = memory;
	struct rig rig;
	uint32_t first, run;
	uint8_t *base;
	int err;

	(void)state;
	assert_true(rig_open(&rig, 256, NULL));
	small.estimate_bytes = RIG_SEGMENT_BYTES;
	struct beam_lane *lane = rig_begin(&rig, &small, -1, false, &err, reason);

	assert_non_null(lane);
	const struct beam_segment_source *source = beam_lane_source(lane);

	assert_int_equal(source->claim(source->ctx, 1, &first), 0);
	assert_int_equal(source->slot(source->ctx, first, &base), 0);
	assert_int_equal(source->claim(source->ctx, 40, &run), 0);
	assert_int_equal(source->slot(source->ctx, run + 39, &base), 0);
	assert_int_equal(source->unclaim(source->ctx, run, 40), 0);
	assert_int_equal(source->seal(source->ctx, first, RIG_SEGMENT_BYTES, 0), 0);
	while (rig.status.region_bytes < 42ull * RIG_SEGMENT_BYTES && rig_next(&rig, 60000) > 0)
		; /* it has grown as far as it should */
	while (rig_next(&rig, 500) > 0)
		; /* and does not grow further */
	assert_in_range(rig.status.region_bytes, 42ull * RIG_SEGMENT_BYTES,
			96ull * RIG_SEGMENT_BYTES);
	beam_lane_abort(lane, BEAM_E_ABORTED, "the test says so");
	beam_lane_close(&lane);
	assert_true(rig_close(&rig));
}

static void take_all_slots(struct rig *rig, int report, int hold, bool unheard)
{
	char reason[BEAM_TEXT_BYTES], byte;
	struct save all = memory;
	uint32_t first;
	uint8_t *base;
	int err;

	all.estimate_bytes = 16ull * RIG_SEGMENT_BYTES;
	struct beam_lane *lane = rig_begin(rig, &all, -1, false, &err, reason);

	if (!lane)
		_exit(RIG_EXIT_REFUSED);
	const struct beam_segment_source *source = beam_lane_source(lane);

	if (source->claim(source->ctx, 16, &first))
		_exit(RIG_EXIT_COPY);
	if (source->slot(source->ctx, 15, &base))
		_exit(RIG_EXIT_COPY);
	/* The worker joins and writes while the daemon cannot notice. */
	if (unheard)
		kill(rig->daemon, SIGSTOP);
	if (hold >= 0 && fork() == 0) {
		struct beam_lane *own;

		if (beam_lane_join(&lane, 1, &own) ||
		    beam_lane_source(own)->slot(beam_lane_source(own)->ctx, 0, &base))
			_exit(1);
		pid_t self = getpid();

		if (write(report, &self, sizeof(self)) != sizeof(self))
			_exit(1);
		if (read(hold, &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	if (hold < 0) {
		pid_t self = getpid();

		_exit(write(report, &self, sizeof(self)) == sizeof(self) ? 0 : 1);
	}
	pause();
	_exit(0);
}

static void kill_child_with_worker(bool unheard)
{
	struct pollfd said = {.events = POLLIN};
	int report[2], hold[2];
	struct rig rig;
	pid_t worker, second, told;

	assert_true(rig_open(&rig, 16, NULL));
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
	pid_t first = fork();

	if (first == 0) {
		/* Lets the worker end with the test, however that ends. */
		close(hold[1]);
		take_all_slots(&rig, report[1], hold[0], unheard);
	}
	assert_int_equal(read(report[0], &worker, sizeof(worker)), sizeof(worker));
	kill(first, SIGKILL);
	rig_reap(first);
	kill(rig.daemon, SIGCONT);
	assert_true(rig_wait_state(&rig, BEAM_STATE_FAILED, 1));
	second = fork();
	if (second == 0)
		take_all_slots(&rig, report[1], -1, false);
	/* It has begun, but gets no slot while the worker could still write. */
	assert_true(rig_wait_state(&rig, BEAM_STATE_COPYING, 2));
	said.fd = report[0];
	assert_int_equal(poll(&said, 1, 500), 0);
	kill(worker, SIGKILL);
	assert_int_equal(read(report[0], &told, sizeof(told)), sizeof(told));
	assert_int_equal(told, second);
	exits(second, 0);
	for (int i = 0; i < 2; i++) {
		close(report[i]);
		close(hold[i]);
	}
	assert_true(rig_close(&rig));
}

static void slots_of_a_killed_child_wait_for_its_workers(void **state)
{
	(void)state;
	kill_child_with_worker(false);
}

static void slots_wait_for_a_worker_that_was_not_heard_yet(void **state)
{
	(void)state;
	kill_child_with_worker(true);
}

static void wrong_secret_is_refused(void **state)
{
	char reason[BEAM_TEXT_BYTES];
	struct rig rig;
	int err;

	(void)state;
	assert_true(rig_open(&rig, 16, NULL));
	rig.secret[BEAM_SECRET_BYTES - 1] ^= 1;
	assert_null(rig_begin(&rig, &memory, -1, false, &err, reason));
	assert_int_equal(err, BEAM_E_DENIED);
	assert_true(rig_close(&rig));
}

static void disk_error_leaves_the_old_dump(void **state)
{
	char reason[BEAM_TEXT_BYTES];
	struct rig rig;
	int err;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	assert_true(rig_write_old_dump(&rig));
	/* A file that cannot be written stands for such a disk. */
	int file = openat(rig.dirfd, "dump.rdb", O_RDONLY | O_CLOEXEC);
	struct beam_lane *lane = rig_begin(&rig, &disk, file, false, &err, reason);
	uint32_t first;
	uint8_t *base;

	assert_non_null(lane);
	const struct beam_segment_source *source = beam_lane_source(lane);

	assert_int_equal(source->claim(source->ctx, 1, &first), 0);
	assert_int_equal(source->slot(source->ctx, first, &base), 0);
	assert_int_equal(source->seal(source->ctx, first, RIG_SEGMENT_BYTES, 0), 0);
	assert_true(rig_wait_state(&rig, BEAM_STATE_FAILED, 1));
	assert_int_not_equal(source->claim(source->ctx, 1, &first), 0);
	beam_lane_close(&lane);
	close(file);
	assert_true(rig_old_dump_is_there(&rig));
	assert_true(rig_close(&rig));
}

/* ---- the waiter --------------------------------------------------------------------------- */

/* Starts a save whose flush takes minutes. Returns the waiter's pid with the daemon in FLUSHING. */
static pid_t slow_save(struct rig *rig)
{
	rig->config.flush_rate_limit = 64 << 10;
	rig_configure(rig);
	assert_true(rig_write_old_dump(rig));
	pid_t pid = rig_save(rig, &disk);

	assert_true(rig_wait_state(rig, BEAM_STATE_FLUSHING, 1));
	return pid;
}

static void waiter_writes_the_dump_when_the_daemon_is_killed(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	pid_t pid = slow_save(&rig);

	kill(rig.daemon, SIGKILL);
	exits(pid, 0);
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_int_equal(rig_files(&rig), 1);
	assert_true(rig_close(&rig));
}

static void waiter_writes_the_dump_when_the_daemon_is_stopped(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	pid_t pid = slow_save(&rig);

	kill(rig.daemon, SIGSTOP);
	exits(pid, 0);
	kill(rig.daemon, SIGCONT);
	/* The daemon finds that nobody waits any more, and goes on. */
	rig.config.flush_rate_limit = 0;
	rig_configure(&rig);
	assert_true(rig_wait_state(&rig, BEAM_STATE_FAILED, 1));
	assert_int_equal(rig.status.servable.counter, 1);
	assert_true(rig_verify(&rig, "dump.rdb", KEYS));
	assert_int_equal(rig_files(&rig), 1);
	exits(rig_save(&rig, &disk), 0);
	assert_true(rig_close(&rig));
}

static void killed_waiter_leaves_the_old_dump(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	pid_t pid = slow_save(&rig);

	kill(pid, SIGUSR1);
	int status = rig_reap(pid);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGUSR1);
	assert_true(rig_wait_state(&rig, BEAM_STATE_FAILED, 1));
	assert_int_equal(rig.status.servable.counter, 1);
	assert_true(rig_old_dump_is_there(&rig));
	assert_true(rig_close(&rig));
}

/* ---- the daemon itself -------------------------------------------------------------------- */

static void retention_gives_memory_back(void **state)
{
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	rig.config.retain_s = 1;
	rig_configure(&rig);
	exits(rig_save(&rig, &memory), 0);
	assert_true(rig_wait_state(&rig, BEAM_STATE_READY, 1));
	assert_true(rig.status.region_bytes > 0);
	assert_true(rig_wait_given_back(&rig, 1));
	assert_true(rig_close(&rig));
}

/* Takes a port that nobody else gets after it is released: the kernel assigns higher ones. */
static int listen_somewhere(uint16_t *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (*port = (uint16_t)(17000 + getpid() % 1000); *port < 19000; ++*port) {
		addr.sin_port = htons(*port);
		if (bind(sock, (struct sockaddr *)&addr, sizeof(addr)) == 0)
			break;
	}
	assert_int_equal(listen(sock, 1), 0);
	return sock;
}

static void port_in_use_is_said_and_saves_go_on(void **state)
{
	uint16_t port;
	int taken = listen_somewhere(&port);
	struct rig rig;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	rig.config.transport = BEAM_TRANSPORT_TCP;
	rig.config.port = port;
	rig.config.nbind = 1;
	strcpy(rig.config.bind[0], "127.0.0.1");
	rig_configure(&rig);
	while (rig_next(&rig, 3000) != BEAM_CTL_READY)
		;
	assert_int_equal(rig.ready.port, 0);
	assert_non_null(strstr(rig.ready.error, "127.0.0.1"));
	exits(rig_save(&rig, &disk), 0);
	/* The next configuration makes it try again. An earlier answer may still be under way. */
	close(taken);
	rig_configure(&rig);
	while (rig_next(&rig, 3000) != BEAM_CTL_READY || rig.ready.error[0])
		;
	assert_string_equal(rig.ready.error, "");
	assert_int_equal(rig.ready.port, rig.config.port);
	assert_true(rig_close(&rig));
}

static void ends_with_its_server_in_mid_flush(void **state)
{
	struct rig rig;
	pid_t pid;

	(void)state;
	assert_true(rig_open(&rig, 64, NULL));
	pid = slow_save(&rig);
	assert_true(rig_close(&rig));
	rig_reap(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(disk_snapshot_becomes_the_dump),
	    cmocka_unit_test(memory_snapshot_is_served_without_a_disk),
	    cmocka_unit_test(newer_image_retires_the_older),
	    cmocka_unit_test(full_region_refuses_with_a_remedy),
	    cmocka_unit_test(abort_gives_the_slots_back),
	    cmocka_unit_test(claim_taken_back_does_not_grow_the_region),
	    cmocka_unit_test(slots_of_a_killed_child_wait_for_its_workers),
	    cmocka_unit_test(slots_wait_for_a_worker_that_was_not_heard_yet),
	    cmocka_unit_test(wrong_secret_is_refused),
	    cmocka_unit_test(disk_error_leaves_the_old_dump),
	    cmocka_unit_test(waiter_writes_the_dump_when_the_daemon_is_killed),
	    cmocka_unit_test(waiter_writes_the_dump_when_the_daemon_is_stopped),
	    cmocka_unit_test(killed_waiter_leaves_the_old_dump),
	    cmocka_unit_test(retention_gives_memory_back),
	    cmocka_unit_test(port_in_use_is_said_and_saves_go_on),
	    cmocka_unit_test(ends_with_its_server_in_mid_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
