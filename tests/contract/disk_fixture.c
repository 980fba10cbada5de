/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

#define PATIENCE_MS 20000

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static char dirs[4][64];
static uint32_t ndirs;
static pid_t owner;

static void remove_dirs(void)
{
	if (getpid() != owner)
		return;
	for (uint32_t i = 0; i < ndirs; i++)
		if (rmdir(dirs[i]))
			perror(dirs[i]);
}

const char *disk_dir(const char *below)
{
	char *dir = dirs[ndirs];

	if (ndirs == 0) {
		owner = getpid();
		atexit(remove_dirs);
	}
	snprintf(dir, sizeof(dirs[0]), "%s/rdbeam-disk-XXXXXX", below);
	if (!mkdtemp(dir))
		die(dir);
	ndirs++;
	return dir;
}

static void fill(uint8_t *at, size_t bytes)
{
	uint64_t x = 0x9e3779b97f4a7c15;

	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(at + i, &x, 8);
	}
}

void disk_run_init(struct disk_run *run, const struct disk_place *place, size_t bytes)
{
	*run = (struct disk_run){.place = place, .bytes = bytes};
	run->mapped = (bytes / IMAGE_SEGMENT + 1) * IMAGE_SEGMENT;
	run->image =
	    mmap(NULL, run->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run->image == MAP_FAILED)
		die("mmap");
	fill(run->image, run->mapped);
	run->dirfd = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->dirfd < 0)
		die(place->dir);
	errno = -beam_file_create(run->dirfd, "fallback", &run->fd, &run->direct, &run->named);
	if (errno)
		die("beam_file_create");
}

int disk_run_open(struct disk_run *run, struct beam_flush_opts opts)
{
	opts.fd = run->fd;
	opts.direct = run->direct;
	opts.engine = run->place->engine;
	return beam_flush_open(&opts, &run->flush);
}

void disk_run_write(struct disk_run *run)
{
	for (size_t at = 0; at < run->bytes; at += IMAGE_SEGMENT) {
		size_t left = run->bytes - at;
		int err = beam_flush_write(run->flush, run->image + at,
					   left < IMAGE_SEGMENT ? left : IMAGE_SEGMENT, at,
					   at / IMAGE_SEGMENT);

		if (err) {
			errno = -err;
			die("beam_flush_write");
		}
	}
}

static void on_done(void *arg, uint64_t cookie, int result)
{
	struct disk_run *run = arg;

	if (cookie == BEAM_FLUSH_FINISHED) {
		run->nfinished++;
		run->finish_result = result;
		return;
	}
	run->ndone++;
	run->nfailed += result != 0;
	if (result && !run->first_error)
		run->first_error = result;
}

bool disk_run_wait(struct disk_run *run, uint32_t ndone)
{
	uint64_t deadline = beam_now_ms() + PATIENCE_MS;
	struct pollfd pfd = {.fd = beam_flush_fd(run->flush), .events = POLLIN};

	while (ndone == UINT32_MAX ? !run->nfinished : run->ndone < ndone) {
		uint64_t now = beam_now_ms();

		if (now >= deadline || poll(&pfd, 1, (int)(deadline - now)) <= 0)
			return false;
		beam_flush_reap(run->flush, on_done, run);
	}
	return true;
}

int disk_run_all(struct disk_run *run)
{
	disk_run_write(run);
	int err = beam_flush_finish(run->flush, run->bytes);

	if (err)
		return err;
	return disk_run_wait(run, UINT32_MAX) ? run->finish_result : -ETIMEDOUT;
}

bool disk_run_same(const struct disk_run *run)
{
	struct stat st;
	bool same = !fstat(run->fd, &st) && (size_t)st.st_size == run->bytes;
	uint8_t *file = mmap(NULL, run->mapped, PROT_READ, MAP_SHARED, run->fd, 0);

	if (file == MAP_FAILED)
		die("mmap of the file");
	same = same && !memcmp(file, run->image, run->bytes);
	munmap(file, run->mapped);
	return same;
}

void disk_run_end(struct disk_run *run)
{
	beam_flush_close(&run->flush);
	if (run->named)
		unlinkat(run->dirfd, "fallback", 0);
	munmap(run->image, run->mapped);
	close(run->fd);
	close(run->dirfd);
}

uint32_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	if (!dir)
		die("/proc/self/fd");
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}
