/* SPDX-License-Identifier: BSD-3-Clause
 * The contract of disk.h when the kernel fails. Needs a build with RDBEAM_FAULTS. Fault points are
 * counted per process, so each case runs in its own child. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk_fixture.h"

#define ODD_BYTES (5 * (size_t)IMAGE_SEGMENT + 1234567)

/* For the children: prints which check failed, and ends the case. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct fault_case {
	const char *fault;
	void (*run)(const struct disk_place *place, int code);
	int code;
};

static void start(struct disk_run *run, const struct disk_place *place)
{
	disk_run_init(run, place, ODD_BYTES);
	int err = disk_run_open(run, (struct beam_flush_opts){.write_bytes = 512 << 10});

	if (err == -ENOSYS || err == -EPERM)
		exit(77);
	CHECK(!err);
	beam_flush_add_buffer(run->flush, run->image, run->mapped);
}

/* The engine recovers: the file is complete. */
static void is_healed(const struct disk_place *place, int code)
{
	struct disk_run run;

	(void)code;
	start(&run, place);
	CHECK(disk_run_all(&run) == 0);
	CHECK(run.nfailed == 0);
	CHECK(beam_flush_written(run.flush) == ODD_BYTES);
	CHECK(disk_run_same(&run));
	disk_run_end(&run);
}

/* The flush fails permanently: each write completes with the error, so does the finish, and so do
 * later writes. */
static void fails_for_good(const struct disk_place *place, int code)
{
	struct disk_run run;

	start(&run, place);
	CHECK(disk_run_all(&run) == code);
	CHECK(run.ndone == 6 && run.nfinished == 1);
	CHECK(run.first_error == 0 || run.first_error == code);
	CHECK(beam_flush_write(run.flush, run.image, 4096, 0, 99) == 0);
	CHECK(disk_run_wait(&run, 7));
	CHECK(run.first_error == code);
	CHECK(run.nfinished == 1);
	disk_run_end(&run);
}

/* All writes succeed, the finish does not. */
static void finish_fails(const struct disk_place *place, int code)
{
	struct disk_run run;

	start(&run, place);
	CHECK(disk_run_all(&run) == code);
	CHECK(run.nfailed == 0);
	CHECK(run.nfinished == 1);
	disk_run_end(&run);
}

/* Without io_uring: AUTO writes with pwrite; a request for io_uring is refused. */
static void falls_back(const struct disk_place *place, int code)
{
	struct disk_place automatic = *place;
	struct disk_run run;

	automatic.engine = BEAM_DISK_AUTO;
	disk_run_init(&run, &automatic, ODD_BYTES);
	CHECK(disk_run_open(&run, (struct beam_flush_opts){0}) == 0);
	CHECK(!strcmp(beam_flush_engine(run.flush), "posix"));
	CHECK(disk_run_all(&run) == 0);
	CHECK(disk_run_same(&run));
	disk_run_end(&run);
	(void)code;
}

static void is_refused(const struct disk_place *place, int code)
{
	struct disk_place uring = *place;
	struct disk_run run;

	uring.engine = BEAM_DISK_URING;
	disk_run_init(&run, &uring, 4096);
	CHECK(disk_run_open(&run, (struct beam_flush_opts){0}) == code);
	CHECK(run.flush == NULL);
	disk_run_end(&run);
}

/* Checks what is left after a failed publish. */
static void publish(const struct disk_place *place, int code, const char *text)
{
	struct disk_run run;
	char left[8] = "";

	disk_run_init(&run, place, 4096);
	int old = openat(run.dirfd, "dump.rdb", O_RDWR | O_CREAT | O_TRUNC, 0600);

	CHECK(old >= 0 && write(old, "old", 3) == 3);
	close(old);
	const char *temp = run.named ? "fallback" : "temp";

	CHECK(beam_file_publish(run.dirfd, run.fd, run.named, temp, "dump.rdb") == code);
	CHECK(faccessat(run.dirfd, temp, F_OK, 0) == -1);
	old = openat(run.dirfd, "dump.rdb", O_RDONLY);
	CHECK(old >= 0 && read(old, left, 3) >= 0);
	CHECK(!strcmp(left, text));
	close(old);
	CHECK(unlinkat(run.dirfd, "dump.rdb", 0) == 0);
	run.named = false;
	disk_run_end(&run);
}

static void publish_keeps_the_old(const struct disk_place *place, int code)
{
	publish(place, code, "old");
}

/* The new file (empty: nothing was flushed) has the name. With a code, it must not be reported as
 * durable. */
static void publish_fails_late(const struct disk_place *place, int code)
{
	publish(place, code, "");
}

static void named_file_works(const struct disk_place *place, int code)
{
	struct disk_run run;

	(void)code;
	disk_run_init(&run, place, 4096);
	CHECK(run.named);
	CHECK(faccessat(run.dirfd, "fallback", F_OK, 0) == 0);
	CHECK(beam_file_publish(run.dirfd, run.fd, true, "fallback", "dump.rdb") == 0);
	CHECK(faccessat(run.dirfd, "fallback", F_OK, 0) == -1);
	CHECK(unlinkat(run.dirfd, "dump.rdb", 0) == 0);
	run.named = false;
	disk_run_end(&run);
}

static const struct fault_case cases[] = {
    {"disk.write:1:short", is_healed, 0},
    {"disk.write:23:short", is_healed, 0},
    {"disk.write:2:errno=EAGAIN", is_healed, 0},
    {"disk.write:3:errno=ECANCELED", is_healed, 0},
    {"disk.write:4:errno=4", is_healed, 0}, /* EINTR */
    {"disk.write:5:errno=EINVAL", is_healed, 0},
    {"disk.register:1:errno=ENOMEM", is_healed, 0},
    {"disk.write:1:errno=EIO", fails_for_good, -EIO},
    {"disk.write:7:errno=EIO", fails_for_good, -EIO},
    {"disk.write:9:errno=ENOSPC", fails_for_good, -ENOSPC},
    {"disk.write:9:errno=EDQUOT", fails_for_good, -EDQUOT},
    {"disk.fsync:1:errno=EIO", finish_fails, -EIO},
    {"disk.trim:1:errno=EIO", finish_fails, -EIO},
    {"disk.uring:1:errno=EPERM", falls_back, 0},
    {"disk.uring:1:errno=ENOMEM", falls_back, 0},
    {"disk.uring:1:errno=EPERM", is_refused, -EPERM},
    {"file.link:1:errno=EIO", publish_keeps_the_old, -EIO},
    {"file.rename:1:errno=EIO", publish_keeps_the_old, -EIO},
    {"file.dirsync:1:errno=EIO", publish_fails_late, -EIO},
    {"file.dirsync:1:errno=EINVAL", publish_fails_late, 0}, /* no fsync of directories there */
    {"file.dirsync:1:errno=9", publish_fails_late, 0},      /* EBADF */
    {"file.tmpfile:1:errno=95", named_file_works, 0},       /* EOPNOTSUPP */
};

static bool run_case(const struct fault_case *c, const struct disk_place *place)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setenv("RDBEAM_FAULT", c->fault, 1);
		c->run(place, c->code);
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		return false;
	}
	bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == 77;
	bool good = status == 0 || skipped;

	printf("%s %s, %s, %s\n",
	       skipped ? "SKIPPED (no io_uring)"
	       : good  ? "ok"
		       : "FAILED",
	       c->fault, place->engine_name, place->dir_name);
	fflush(stdout);
	return good;
}

int main(void)
{
#ifndef RDBEAM_FAULTS
	puts("SKIPPED: built without RDBEAM_FAULTS, so nothing can be made to fail");
	return 77;
#endif
	const char *here = disk_dir("."), *shm = disk_dir("/dev/shm");
	const struct disk_place places[] = {
	    {BEAM_DISK_URING, "io_uring", here, "disk"},
	    {BEAM_DISK_URING, "io_uring", shm, "shm"},
	    {BEAM_DISK_POSIX, "posix", here, "disk"},
	    {BEAM_DISK_POSIX, "posix", shm, "shm"},
	};
	int failed = 0;

	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
			failed += !run_case(&cases[i], &places[p]);
	printf("%d failed\n", failed);
	return failed ? 1 : 0;
}
