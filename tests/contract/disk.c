/* SPDX-License-Identifier: BSD-3-Clause
 * The contract of disk.h, for each engine, on a disk and on a memory file system. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "disk_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ODD_BYTES (5 * (size_t)IMAGE_SEGMENT + 1234567) /* its size is not a multiple of 4096 */

/* Begins a run; skips the test if io_uring is not available. */
static void begin(struct disk_run *run, void **state, size_t bytes, struct beam_flush_opts opts)
{
	const struct disk_place *place = *state;

	disk_run_init(run, place, bytes);
	int err = disk_run_open(run, opts);

	if (place->engine == BEAM_DISK_URING && (err == -ENOSYS || err == -EPERM)) {
		disk_run_end(run);
		print_message("SKIPPED: no io_uring here: %s\n", strerror(-err));
		skip();
	}
	assert_int_equal(err, 0);
	assert_string_equal(beam_flush_engine(run->flush), place->engine_name);
}

static void file_is_identical_at(void **state, uint32_t depth, uint32_t write_bytes, size_t bytes,
				 bool registered)
{
	struct beam_flush_opts opts = {.depth = depth, .write_bytes = write_bytes};
	struct disk_run run;

	begin(&run, state, bytes, opts);
	if (registered)
		beam_flush_add_buffer(run.flush, run.image, run.mapped);
	assert_int_equal(disk_run_all(&run), 0);
	assert_int_equal(run.ndone, (bytes + IMAGE_SEGMENT - 1) / IMAGE_SEGMENT);
	assert_int_equal(run.nfailed, 0);
	assert_int_equal(run.nfinished, 1);
	assert_int_equal(beam_flush_written(run.flush), bytes);
	assert_true(disk_run_same(&run));
	disk_run_end(&run);
}

static void file_is_identical(void **state)
{
	file_is_identical_at(state, 0, 0, ODD_BYTES, true);
}

static void file_is_identical_one_at_a_time(void **state)
{
	file_is_identical_at(state, 1, 0, ODD_BYTES, true);
}

static void file_is_identical_deep_and_small(void **state)
{
	file_is_identical_at(state, 16, 64 << 10, ODD_BYTES, true);
}

static void file_is_identical_from_unregistered_memory(void **state)
{
	file_is_identical_at(state, 16, 300000, ODD_BYTES, false);
}

static void file_of_one_byte(void **state)
{
	file_is_identical_at(state, 8, 0, 1, true);
}

static void empty_file(void **state)
{
	file_is_identical_at(state, 8, 0, 0, false);
}

static void nothing_ready_when_idle(void **state)
{
	struct disk_run run;

	begin(&run, state, ODD_BYTES, (struct beam_flush_opts){0});
	struct pollfd pfd = {.fd = beam_flush_fd(run.flush), .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, 0), 0);
	disk_run_write(&run);
	assert_true(disk_run_wait(&run, 6));
	/* After the last completion there may be one wake-up too many, but no more. */
	beam_flush_reap(run.flush, NULL, NULL);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	assert_int_equal(run.nfinished, 0);
	disk_run_end(&run);
}

static void second_finish_is_refused(void **state)
{
	struct disk_run run;

	begin(&run, state, 4096, (struct beam_flush_opts){0});
	assert_int_equal(disk_run_all(&run), 0);
	assert_int_equal(beam_flush_finish(run.flush, 4096), -EBUSY);
	disk_run_end(&run);
}

static void rate_limit_is_kept(void **state)
{
	const uint64_t rate = 16 << 20;
	struct disk_run run;
	uint64_t start = beam_now_ms();

	begin(&run, state, 8 << 20, (struct beam_flush_opts){.rate_limit = rate});
	assert_int_equal(disk_run_all(&run), 0);
	uint64_t took = beam_now_ms() - start;

	/* 8 MiB take 500 ms, minus the bucket, which is full at first (1/16 s), and the last
	 * operation, which may overdraw it (1/16 s). */
	assert_in_range(took, 350, 5000);
	assert_true(disk_run_same(&run));
	disk_run_end(&run);
}

/* Bytes that change after close must never reach the file. */
static void close_is_a_fence(void **state)
{
	struct disk_run run;
	struct stat st;

	begin(&run, state, 16 * (size_t)IMAGE_SEGMENT,
	      (struct beam_flush_opts){.depth = 16, .write_bytes = 256 << 10});
	uint8_t *before = malloc(run.bytes), *after = malloc(run.bytes);

	assert_non_null(before);
	assert_non_null(after);
	beam_flush_add_buffer(run.flush, run.image, run.mapped);
	disk_run_write(&run);
	beam_flush_close(&run.flush);
	assert_null(run.flush);
	assert_int_equal(fcntl(run.fd, F_SETFL, fcntl(run.fd, F_GETFL) & ~O_DIRECT), 0);
	memcpy(before, run.image, run.bytes);
	memset(run.image, 0xee, run.bytes);
	assert_int_equal(fsync(run.fd), 0);
	assert_int_equal(fstat(run.fd, &st), 0);
	ssize_t n = pread(run.fd, after, run.bytes, 0);

	assert_int_equal(n, st.st_size);
	for (ssize_t at = 0; at < n; at += 4096) {
		bool hole = after[at] == 0 && after[at + 1] == 0 && after[at + 2] == 0;

		assert_true(hole || !memcmp(after + at, before + at, 4096));
	}
	free(before);
	free(after);
	disk_run_end(&run);
}

static void close_leaves_no_descriptors(void **state)
{
	struct disk_run run;
	uint32_t before = count_fds();

	for (int i = 0; i < 5; i++) {
		begin(&run, state, ODD_BYTES, (struct beam_flush_opts){.rate_limit = 1 << 20});
		disk_run_write(&run);
		disk_run_end(&run);
	}
	assert_int_equal(count_fds(), before);
}

/* A full device: real errors, from the first write on. */
static void full_device_fails_every_write(void **state)
{
	struct disk_run run;

	disk_run_init(&run, *state, ODD_BYTES);
	close(run.fd);
	run.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	run.direct = false;
	assert_true(run.fd >= 0);
	assert_int_equal(disk_run_open(&run, (struct beam_flush_opts){.depth = 2}), 0);
	assert_int_equal(disk_run_all(&run), -ENOSPC);
	assert_int_equal(run.ndone, 6);
	assert_int_equal(run.first_error, -ENOSPC);
	assert_int_equal(run.nfailed, 6);
	assert_int_equal(run.nfinished, 1);
	disk_run_end(&run);
}

/* fsync of /dev/null is EINVAL: the finish fails although all writes succeeded. */
static void failed_fsync_fails_the_finish(void **state)
{
	struct disk_run run;

	disk_run_init(&run, *state, 4096);
	close(run.fd);
	run.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	run.direct = false;
	assert_true(run.fd >= 0);
	assert_int_equal(disk_run_open(&run, (struct beam_flush_opts){0}), 0);
	assert_int_equal(disk_run_all(&run), -EINVAL);
	assert_int_equal(run.nfailed, 0);
	disk_run_end(&run);
}

/* The kernel refuses memory that is not aligned with EINVAL, at the write. */
static void refused_direct_write_goes_on_buffered(void **state)
{
	struct disk_run run;

	begin(&run, state, ODD_BYTES, (struct beam_flush_opts){.write_bytes = 256 << 10});
	run.image++;
	disk_run_write(&run);
	assert_int_equal(beam_flush_finish(run.flush, run.bytes), 0);
	assert_true(disk_run_wait(&run, UINT32_MAX));
	assert_int_equal(run.finish_result, 0);
	assert_true(disk_run_same(&run));
	run.image--;
	disk_run_end(&run);
}

static void put_file(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void publish_replaces_the_old_file(void **state)
{
	struct disk_run run;
	struct stat st, published;

	begin(&run, state, ODD_BYTES, (struct beam_flush_opts){0});
	put_file(run.dirfd, "dump.rdb", "old");
	put_file(run.dirfd, "temp", "left by a crash");
	assert_int_equal(disk_run_all(&run), 0);
	assert_int_equal(beam_file_publish(run.dirfd, run.fd, run.named, "temp", "dump.rdb"), 0);
	run.named = false;
	assert_int_equal(fstat(run.fd, &st), 0);
	assert_int_equal(fstatat(run.dirfd, "dump.rdb", &published, 0), 0);
	assert_int_equal(st.st_ino, published.st_ino);
	assert_int_equal(published.st_size, ODD_BYTES);
	assert_int_equal(faccessat(run.dirfd, "temp", F_OK, 0), -1);
	unlinkat(run.dirfd, "dump.rdb", 0);
	disk_run_end(&run);
}

static void failed_publish_leaves_nothing(void **state)
{
	struct disk_run run;

	begin(&run, state, 4096, (struct beam_flush_opts){0});
	assert_int_equal(mkdirat(run.dirfd, "dump.rdb", 0700), 0);
	assert_int_equal(disk_run_all(&run), 0);
	assert_int_equal(beam_file_publish(run.dirfd, run.fd, run.named, "temp", "dump.rdb"),
			 -EISDIR);
	run.named = false;
	assert_int_equal(faccessat(run.dirfd, "temp", F_OK, 0), -1);
	assert_int_equal(unlinkat(run.dirfd, "dump.rdb", AT_REMOVEDIR), 0);
	disk_run_end(&run);
}

/* Zeros that are left out read as zeros, in a file of the same size that takes no space for
 * them. */
static void hole_is_not_written(void **state)
{
	struct disk_run run;
	const size_t hole = 4096, hole_end = IMAGE_SEGMENT - 8192;
	struct stat st;

	begin(&run, state, ODD_BYTES, (struct beam_flush_opts){.write_bytes = 64 << 10});
	memset(run.image + hole, 0, hole_end - hole);
	assert_int_equal(
	    beam_flush_write_around(run.flush, run.image, IMAGE_SEGMENT, 0, hole, hole_end, 0), 0);
	for (size_t at = IMAGE_SEGMENT; at < run.bytes; at += IMAGE_SEGMENT)
		assert_int_equal(beam_flush_write(run.flush, run.image + at,
						  run.bytes - at < IMAGE_SEGMENT ? run.bytes - at
										 : IMAGE_SEGMENT,
						  at, at / IMAGE_SEGMENT),
				 0);
	assert_int_equal(beam_flush_finish(run.flush, run.bytes), 0);
	assert_true(disk_run_wait(&run, UINT32_MAX));
	assert_int_equal(run.finish_result, 0);
	assert_int_equal(run.nfailed, 0);
	assert_int_equal(beam_flush_written(run.flush), run.bytes);
	assert_int_equal(fstat(run.fd, &st), 0);
	assert_in_range((size_t)st.st_blocks * 512, 0, run.bytes - (hole_end - hole) / 2);
	assert_true(disk_run_same(&run));
	disk_run_end(&run);
}

#define CASES(X)                                                                                   \
	X(file_is_identical)                                                                       \
	X(file_is_identical_one_at_a_time)                                                         \
	X(file_is_identical_deep_and_small)                                                        \
	X(file_is_identical_from_unregistered_memory)                                              \
	X(hole_is_not_written)                                                                     \
	X(file_of_one_byte)                                                                        \
	X(empty_file)                                                                              \
	X(nothing_ready_when_idle)                                                                 \
	X(second_finish_is_refused)                                                                \
	X(rate_limit_is_kept)                                                                      \
	X(close_is_a_fence)                                                                        \
	X(close_leaves_no_descriptors)                                                             \
	X(full_device_fails_every_write)                                                           \
	X(failed_fsync_fails_the_finish)                                                           \
	X(refused_direct_write_goes_on_buffered)                                                   \
	X(publish_replaces_the_old_file)                                                           \
	X(failed_publish_leaves_nothing)

int main(void)
{
	const char *here = disk_dir("."), *shm = disk_dir("/dev/shm");
	struct disk_place places[] = {
	    {BEAM_DISK_URING, "io_uring", here, "disk"},
	    {BEAM_DISK_URING, "io_uring", shm, "shm"},
	    {BEAM_DISK_POSIX, "posix", here, "disk"},
	    {BEAM_DISK_POSIX, "posix", shm, "shm"},
	};
	int failed = 0;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
#define X(name) cmocka_unit_test_prestate(name, &places[i]),
		const struct CMUnitTest tests[] = {CASES(X)};
#undef X
		print_message("--- %s, %s\n", places[i].engine_name, places[i].dir_name);
		failed += cmocka_run_group_tests(tests, NULL, NULL);
	}
	return failed;
}
