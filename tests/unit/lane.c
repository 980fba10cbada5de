/* SPDX-License-Identifier: BSD-3-Clause
 * Lanes against a thread that plays the daemon over a real region: every message, real forks, and a
 * daemon that fails at each point. */
#include "lane.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "rdbeam/error.h"
#include "region.h"
#include "sockets.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEGMENT  (2u << 20)
#define CAPACITY 64u
#define CONNS    8
#define GEN      77u

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

/* The daemon's part: one connection per lane, all on one thread. */
struct host {
	struct beam_region *region;
	struct beam_table *table;
	int table_fd, listener, stop[2];
	uint8_t name[6];
	size_t name_len;
	pthread_t thread;
	int conns[CONNS];
	uint32_t nconns, told_extents[CONNS];
	/* behaviour */
	uint32_t granted;    /* entries below this have a slot */
	uint32_t grant_step; /* slots granted at each NEED in addition to the one requested */
	uint32_t fail_at;    /* NEED of this index or a higher one is answered by FAILED */
	uint32_t close_at;   /* ... or by closing the connection */
	bool refuse;
	/* what was received */
	_Atomic uint32_t nsealed, njoined, ncopied, naborted, extents_known;
};

static void die(const char *what)
{
	perror(what);
	abort(); /* cmocka cannot unwind from the host's thread */
}

static void host_grow(struct host *h, uint32_t want)
{
	struct pollfd pfd = {.fd = beam_region_fd(h->region), .events = POLLIN};

	beam_region_grow(h->region, want);
	while (beam_region_free_slots(h->region) < want) {
		if (poll(&pfd, 1, 20000) != 1 || beam_region_collect(h->region))
			die("region");
	}
}

static void tell_extents(struct host *h, uint32_t conn)
{
	uint32_t n = beam_region_extents(h->region);

	if (h->told_extents[conn] == UINT32_MAX)
		return; /* has sent neither BEGIN nor JOIN */
	for (uint32_t i = h->told_extents[conn]; i < n; i++) {
		struct beam_ctl_extent message = {.extent = i};
		void *base;
		int fd;

		if (!beam_region_extent(h->region, i, &fd, &base, &message.bytes))
			continue;
		int err =
		    beam_ctl_send(h->conns[conn], BEAM_CTL_EXTENT, &message, sizeof(message), fd);

		/* A worker that has finished is gone; its messages are still in the socket. */
		if (err && err != BEAM_E_GONE)
			die("EXTENT");
	}
	h->told_extents[conn] = n;
}

static void grant(struct host *h, uint32_t conn, uint32_t index)
{
	struct beam_ctl_index message = {0};
	uint32_t upto = index + 1 + h->grant_step;

	upto = upto < CAPACITY ? upto : CAPACITY;
	if (upto > h->granted)
		host_grow(h, upto - h->granted);
	for (uint32_t i = 0; i < h->nconns; i++)
		if (h->conns[i] >= 0)
			tell_extents(h, i);
	for (; h->granted < upto; h->granted++) {
		uint32_t slot;

		if (beam_region_take(h->region, &slot))
			die("take");
		atomic_store_explicit(&h->table->entry[h->granted].slot, slot,
				      memory_order_release);
	}
	message.index = index;
	beam_ctl_send(h->conns[conn], BEAM_CTL_GRANTED, &message, sizeof(message), -1);
}

static void on_begin(struct host *h, uint32_t conn)
{
	struct beam_ctl_generation answer = {.gen = h->table->gen,
					     .segment_bytes = SEGMENT,
					     .table_bytes = beam_table_bytes(CAPACITY)};

	h->told_extents[conn] = 0;
	if (h->refuse)
		beam_ctl_send_text(h->conns[conn], BEAM_CTL_REFUSED, BEAM_E_BUSY, "not today");
	else
		beam_ctl_send(h->conns[conn], BEAM_CTL_GENERATION, &answer, sizeof(answer),
			      h->table_fd);
}

static void on_need(struct host *h, uint32_t conn, uint32_t index)
{
	if (index >= h->close_at)
		beam_close(&h->conns[conn]);
	else if (index >= h->fail_at)
		beam_ctl_send_text(h->conns[conn], BEAM_CTL_FAILED, BEAM_E_FULL, "full");
	else
		grant(h, conn, index);
}

static void on_message(struct host *h, uint32_t conn)
{
	union {
		struct beam_ctl_head head;
		struct beam_ctl_index index;
		struct beam_ctl_join join;
		uint8_t bytes[BEAM_CTL_MAX_BYTES];
	} m;
	ssize_t n = beam_packet_recv(h->conns[conn], &m, sizeof(m), NULL, NULL, 0);

	if (n < 0) {
		beam_close(&h->conns[conn]);
		return;
	}
	if (beam_ctl_check(&m, (uint32_t)n))
		die("malformed message from the lane");
	if (m.head.type == BEAM_CTL_BEGIN)
		on_begin(h, conn);
	else if (m.head.type == BEAM_CTL_NEED)
		on_need(h, conn, m.index.index);
	else if (m.head.type == BEAM_CTL_SEALED)
		h->nsealed++;
	else if (m.head.type == BEAM_CTL_COPIED)
		h->ncopied++;
	else if (m.head.type == BEAM_CTL_ABORT)
		h->naborted++;
	if (m.head.type == BEAM_CTL_JOIN) {
		h->njoined++;
		h->extents_known = m.join.extents_known;
		h->told_extents[conn] = 0; /* more than it needs, which it must tolerate */
		tell_extents(h, conn);
	}
}

static void *host_thread(void *arg)
{
	struct host *h = arg;

	for (;;) {
		struct pollfd pfds[CONNS + 2] = {{.fd = h->stop[0], .events = POLLIN},
						 {.fd = h->listener, .events = POLLIN}};
		uint32_t n = h->nconns;

		for (uint32_t i = 0; i < n; i++)
			pfds[i + 2] = (struct pollfd){.fd = h->conns[i], .events = POLLIN};
		if (poll(pfds, n + 2, -1) < 0)
			die("poll");
		for (uint32_t i = 0; i < n; i++)
			if (pfds[i + 2].revents && h->conns[i] >= 0)
				on_message(h, i);
		if (pfds[1].revents && n < CONNS) {
			h->told_extents[n] = UINT32_MAX;
			h->conns[n] = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
			h->nconns++;
		}
		/* Handled last, so that everything sent before is received. */
		if (pfds[0].revents && !pfds[1].revents) {
			bool quiet = true;

			for (uint32_t i = 0; i < n; i++)
				quiet = quiet && !pfds[i + 2].revents;
			if (quiet)
				return NULL;
		}
	}
}

static void host_start(struct host *h)
{
	struct beam_region_opts opts = {.max_bytes = 256 << 20, .segment_bytes = SEGMENT};

	h->fail_at = h->fail_at ? h->fail_at : UINT32_MAX;
	h->close_at = h->close_at ? h->close_at : UINT32_MAX;
	assert_int_equal(beam_region_open(&opts, &h->region), 0);
	h->table_fd = memfd_create("table", MFD_CLOEXEC);
	assert_int_equal(ftruncate(h->table_fd, (off_t)beam_table_bytes(CAPACITY)), 0);
	h->table = mmap(NULL, beam_table_bytes(CAPACITY), PROT_READ | PROT_WRITE, MAP_SHARED,
			h->table_fd, 0);
	assert_ptr_not_equal(h->table, MAP_FAILED);
	h->table->magic = BEAM_TABLE_MAGIC;
	h->table->version = BEAM_TABLE_VERSION;
	h->table->segment_bytes = SEGMENT;
	h->table->gen = (struct beam_gen){1234, GEN};
	h->table->capacity = CAPACITY;
	h->listener = beam_packet_listen(h->name, &h->name_len);
	assert_true(h->listener >= 0);
	assert_int_equal(pipe2(h->stop, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&h->thread, NULL, host_thread, h), 0);
}

static void host_stop(struct host *h)
{
	assert_int_equal(write(h->stop[1], "x", 1), 1);
	pthread_join(h->thread, NULL);
	for (uint32_t i = 0; i < h->nconns; i++)
		beam_close(&h->conns[i]);
	beam_close(&h->listener);
	beam_close(&h->stop[0]);
	beam_close(&h->stop[1]);
	munmap(h->table, beam_table_bytes(CAPACITY));
	beam_close(&h->table_fd);
	beam_region_close(&h->region);
}

static int begin(struct host *h, char *reason, struct beam_lane **out)
{
	struct beam_ctl_begin message = {.kind = BEAM_SNAPSHOT_MEMORY};
	struct beam_lane_begin opts = {.daemon_name = h->name,
				       .daemon_name_len = h->name_len,
				       .begin = &message,
				       .file_fd = -1,
				       .timeout_ms = 5000};

	return beam_lane_begin(&opts, reason, out);
}

/* A lane on a started host. */
static struct beam_lane *begin_good(struct host *h)
{
	struct beam_lane *lane = NULL;
	char reason[BEAM_TEXT_BYTES];

	host_start(h);
	assert_int_equal(begin(h, reason, &lane), 0);
	assert_string_equal(reason, "");
	return lane;
}

/* Claims, fills and seals one segment, whose bytes and CRC depend on its index. 0 or the source's
 * code. */
static int write_segment(const struct beam_segment_source *source, uint32_t *index)
{
	uint8_t *base;
	int err = source->claim(source->ctx, 1, index);

	err = err ? err : source->slot(source->ctx, *index, &base);
	if (err)
		return err;
	memset(base, (int)*index + 1, SEGMENT);
	return source->seal(source->ctx, *index, SEGMENT, 1000 + *index);
}

static bool segment_is_right(const struct host *h, uint32_t index)
{
	/* Acquire: makes visible what the host's thread did before it granted the slot. */
	const struct beam_table_entry *entry = &h->table->entry[index];
	uint32_t slot = atomic_load_explicit(&entry->slot, memory_order_acquire);

	if (!slot)
		return false;
	const uint8_t *at = beam_region_at(h->region, slot);

	return atomic_load(&entry->seal) == GEN && entry->crc == 1000 + index &&
	       entry->len_bytes == SEGMENT && at[0] == index + 1 && at[SEGMENT - 1] == index + 1;
}

static void segments_arrive(void **state)
{
	(void)state;
	struct host h = {.grant_step = 3};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	struct beam_ctl_copied copied = {.keys = 5};
	uint64_t crcs[CAPACITY];
	uint32_t index;

	assert_int_equal(source->segment_bytes, SEGMENT);
	assert_int_equal(source->gen.counter, GEN);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(write_segment(source, &index), 0);
		assert_int_equal(index, i);
	}
	assert_true(beam_region_extents(h.region) > 1);
	assert_int_equal(source->crcs(source->ctx, 40, crcs), 0);
	assert_int_equal(crcs[39], 1039);
	assert_int_equal(source->crcs(source->ctx, 41, crcs), BEAM_E_TORN);
	assert_int_equal(source->crcs(source->ctx, CAPACITY + 1, crcs), -EINVAL);
	assert_int_equal(beam_lane_copied(lane, &copied), 0);
	beam_lane_close(&lane);
	assert_null(lane);
	for (uint32_t i = 0; i < 40; i++)
		assert_true(segment_is_right(&h, i));
	host_stop(&h);
	assert_int_equal(h.nsealed, 40);
	assert_int_equal(h.ncopied, 1);
}

static void claims_stay_within_the_table(void **state)
{
	(void)state;
	struct host h = {0};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	uint32_t first;

	assert_int_equal(source->claim(source->ctx, CAPACITY - 1, &first), 0);
	assert_int_equal(first, 0);
	assert_int_equal(source->claim(source->ctx, 2, &first), BEAM_E_FULL);
	assert_int_equal(source->claim(source->ctx, UINT32_MAX, &first), BEAM_E_FULL);
	assert_int_equal(source->claim(source->ctx, 1, &first), 0);
	assert_int_equal(first, CAPACITY - 1);
	assert_int_equal(source->unclaim(source->ctx, 0, 3), -EBUSY);
	assert_int_equal(source->unclaim(source->ctx, CAPACITY - 4, 4), 0);
	assert_int_equal(atomic_load(&h.table->next_index), CAPACITY - 4);
	uint8_t *base;

	assert_int_equal(source->slot(source->ctx, CAPACITY, &base), -EINVAL);
	assert_int_equal(source->seal(source->ctx, CAPACITY, 1, 1), -EINVAL);
	assert_int_equal(source->seal(source->ctx, 0, SEGMENT + 1, 1), -EINVAL);
	beam_lane_close(&lane);
	host_stop(&h);
}

/* The thread sanitizer hangs in a forked child of a process with threads. */
static void skip_forks_under_tsan(void **state)
{
	(void)state;
#ifdef UNDER_TSAN
	print_message("SKIPPED: forks beside a thread, not under the thread sanitizer\n");
	skip();
#endif
}

/* Four processes write at the same time; nothing is lost, duplicated or mixed up. */
static void workers_share_the_image(void **state)
{
	skip_forks_under_tsan(state);
	struct host h = {.grant_step = 1};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	pid_t pids[4];
	uint32_t index;

	assert_int_equal(write_segment(source, &index), 0);
	for (uint32_t w = 0; w < 4; w++) {
		pids[w] = fork();
		if (pids[w] == 0) {
			struct beam_lane *own = NULL;
			int err = beam_lane_join(&lane, w, &own);

			for (int i = 0; i < 10 && !err; i++)
				err = write_segment(beam_lane_source(own), &index);
			_exit(err || lane);
		}
		assert_true(pids[w] > 0);
	}
	for (uint32_t w = 0; w < 4; w++) {
		int status;

		assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
		assert_int_equal(status, 0);
	}
	uint64_t crcs[CAPACITY];

	assert_int_equal(source->crcs(source->ctx, 41, crcs), 0);
	for (uint32_t i = 0; i < 41; i++)
		assert_true(segment_is_right(&h, i));
	beam_lane_close(&lane);
	host_stop(&h);
	assert_int_equal(h.nsealed, 41);
	assert_int_equal(h.njoined, 4);
	assert_int_equal(h.extents_known, 1);
}

static void waiter_inherits_every_extent(void **state)
{
	skip_forks_under_tsan(state);
	struct host h = {.grant_step = 0};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	pid_t pid = fork();
	uint32_t index;
	int status;

	if (pid == 0) {
		int err = beam_lane_join(&lane, 0, &lane);

		for (int i = 0; i < 40 && !err; i++)
			err = write_segment(beam_lane_source(lane), &index);
		_exit(err != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* The coordinator has written nothing and asked for nothing, so all messages are still in
	 * its socket. */
	atomic_store(&h.table->total, 40);
	int sock, fds[BEAM_EXTENTS_MAX + 1], nfds = 0;

	assert_int_equal(beam_lane_inherit(lane, &sock, fds, 1, &nfds), -E2BIG);
	assert_int_equal(beam_lane_inherit(lane, &sock, fds, BEAM_EXTENTS_MAX + 1, &nfds), 0);
	assert_int_equal(nfds, beam_region_extents(h.region) + 1);
	for (int i = 0; i < nfds; i++)
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(source->claim(source->ctx, 1, &index), 0);
	beam_lane_close(&lane);
	host_stop(&h);
}

static void refusal_says_why(void **state)
{
	(void)state;
	struct host h = {.refuse = true};
	struct beam_lane *lane = NULL;
	char reason[BEAM_TEXT_BYTES];

	host_start(&h);
	assert_int_equal(begin(&h, reason, &lane), BEAM_E_BUSY);
	assert_string_equal(reason, "not today");
	assert_null(lane);
	host_stop(&h);
	assert_int_equal(begin(&h, reason, &lane), -ECONNREFUSED);
	assert_true(strlen(reason) > 0);
}

static void silent_daemon_times_out(void **state)
{
	(void)state;
	struct host h = {0};
	struct beam_ctl_begin message = {.kind = BEAM_SNAPSHOT_MEMORY};
	struct beam_lane_begin opts = {
	    .daemon_name = h.name, .begin = &message, .file_fd = -1, .timeout_ms = 50};
	struct beam_lane *lane = NULL;
	char reason[BEAM_TEXT_BYTES];

	h.listener = beam_packet_listen(h.name, &opts.daemon_name_len);
	assert_int_equal(beam_lane_begin(&opts, reason, &lane), -ETIMEDOUT);
	assert_null(lane);
	beam_close(&h.listener);
}

static void full_region_is_the_daemons_word(void **state)
{
	(void)state;
	struct host h = {.fail_at = 3};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	uint32_t index;

	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(write_segment(source, &index), 0);
	assert_int_equal(write_segment(source, &index), BEAM_E_FULL);
	/* Permanently. */
	assert_int_equal(write_segment(source, &index), BEAM_E_FULL);
	beam_lane_abort(lane, BEAM_E_FULL, "test");
	beam_lane_close(&lane);
	host_stop(&h);
	assert_int_equal(h.naborted, 1);
}

static void dead_daemon_is_gone(void **state)
{
	(void)state;
	struct host h = {.close_at = 2};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	struct beam_ctl_copied copied = {0};
	uint32_t index;

	assert_int_equal(write_segment(source, &index), 0);
	assert_int_equal(write_segment(source, &index), 0);
	assert_int_equal(write_segment(source, &index), BEAM_E_GONE);
	assert_int_equal(source->seal(source->ctx, 2, 1, 1), BEAM_E_GONE);
	assert_int_equal(beam_lane_copied(lane, &copied), BEAM_E_GONE);
	beam_lane_abort(lane, BEAM_E_GONE, "says nothing to nobody");
	beam_lane_close(&lane);
	host_stop(&h);
}

static void aborted_generation_stops_writers(void **state)
{
	(void)state;
	struct host h = {0};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	uint32_t index;

	assert_int_equal(write_segment(source, &index), 0);
	atomic_store(&h.table->aborted, 1);
	assert_int_equal(source->claim(source->ctx, 1, &index), BEAM_E_ABORTED);
	assert_int_equal(source->seal(source->ctx, 0, 1, 1), BEAM_E_ABORTED);
	beam_lane_close(&lane);
	host_stop(&h);
}

/* Memory was trimmed, and another extent got its number: the slot is in the new one. */
static void renumbered_extent_is_mapped_anew(void **state)
{
	(void)state;
	struct host h = {0};
	struct beam_lane *lane = begin_good(&h);
	const struct beam_segment_source *source = beam_lane_source(lane);
	struct beam_ctl_extent message = {.extent = 0, .bytes = 4 * SEGMENT};
	uint32_t index;
	int fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(write_segment(source, &index), 0);
	assert_int_equal(ftruncate(fd, 4 * SEGMENT), 0);
	/* Not sealed: a lane does not map memory that could be truncated. */
	assert_int_equal(beam_ctl_send(h.conns[0], BEAM_CTL_EXTENT, &message, sizeof(message), fd),
			 0);
	struct beam_lane *other = NULL;
	char reason[BEAM_TEXT_BYTES];

	assert_int_equal(write_segment(source, &index), BEAM_E_PROTO);
	assert_int_equal(begin(&h, reason, &other), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	source = beam_lane_source(other);
	assert_int_equal(write_segment(source, &index), 0);
	assert_int_equal(beam_ctl_send(h.conns[1], BEAM_CTL_EXTENT, &message, sizeof(message), fd),
			 0);
	assert_int_equal(write_segment(source, &index), 0);
	uint8_t byte = 0;

	assert_int_equal(
	    pread(fd, &byte, 1, BEAM_SLOT_PLACE(h.table->entry[index].slot) * (off_t)SEGMENT), 1);
	assert_int_equal(byte, index + 1);
	close(fd);
	beam_lane_close(&other);
	beam_lane_close(&lane);
	host_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(segments_arrive),
	    cmocka_unit_test(claims_stay_within_the_table),
	    cmocka_unit_test(workers_share_the_image),
	    cmocka_unit_test(waiter_inherits_every_extent),
	    cmocka_unit_test(refusal_says_why),
	    cmocka_unit_test(silent_daemon_times_out),
	    cmocka_unit_test(full_region_is_the_daemons_word),
	    cmocka_unit_test(dead_daemon_is_gone),
	    cmocka_unit_test(aborted_generation_stops_writers),
	    cmocka_unit_test(renumbered_extent_is_mapped_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
