/* SPDX-License-Identifier: BSD-3-Clause
 * Power loss, replayed. Everything that a save does to its directory is recorded (the linker
 * replaces the system's functions with those of this file). After every step the disk is rebuilt as
 * a loss of power at that moment may leave it. Whatever was not made durable by fsync may be there
 * or not: each write independently, in any order; names in their order, as a journal keeps them.
 * The dump must then be the old one or the new one, complete; and once the save has reported
 * success, the new one. The posix engine is recorded; io_uring does the same steps in the same
 * order (flush.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_fixture.h"

#define STEPS_MAX 4096
#define LOSSES    24 /* rebuilt after each step, at random */

enum verb { WRITE, TRIM, SYNC, LINK, RENAME, SYNC_DIR, SAID_DONE };

struct step {
	enum verb verb;
	uint64_t offset, len_bytes;
};

static struct step steps[STEPS_MAX];
static uint32_t nsteps;
static struct disk_run *recorded; /* NULL: not recording */
static uint64_t dice = 0x9e3779b97f4a7c15;

static bool coin(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice >> 63;
}

static void record(enum verb verb, uint64_t offset, uint64_t len_bytes)
{
	if (nsteps == STEPS_MAX) {
		fputs("too many steps\n", stderr);
		exit(1);
	}
	steps[nsteps++] = (struct step){verb, offset, len_bytes};
}

/* ---- in the place of the system's ----------------------------------------------------------- */

ssize_t __real_pwrite(int fd, const void *buf, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t offset);
int __real_ftruncate(int fd, off_t len);
int __wrap_ftruncate(int fd, off_t len);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_linkat(int from_dir, const char *from, int dir, const char *name, int flags);
int __wrap_linkat(int from_dir, const char *from, int dir, const char *name, int flags);
int __real_renameat(int from_dir, const char *from, int dir, const char *name);
int __wrap_renameat(int from_dir, const char *from, int dir, const char *name);

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	ssize_t n = __real_pwrite(fd, buf, len, offset);

	if (recorded && fd == recorded->fd && n > 0)
		record(WRITE, (uint64_t)offset, (uint64_t)n);
	return n;
}

int __wrap_ftruncate(int fd, off_t len)
{
	int rc = __real_ftruncate(fd, len);

	if (recorded && fd == recorded->fd && !rc)
		record(TRIM, (uint64_t)len, 0);
	return rc;
}

int __wrap_fsync(int fd)
{
	int rc = __real_fsync(fd);

	if (recorded && !rc && (fd == recorded->fd || fd == recorded->dirfd))
		record(fd == recorded->fd ? SYNC : SYNC_DIR, 0, 0);
	return rc;
}

int __wrap_linkat(int from_dir, const char *from, int dir, const char *name, int flags)
{
	int rc = __real_linkat(from_dir, from, dir, name, flags);

	if (recorded && !rc)
		record(LINK, 0, 0);
	return rc;
}

int __wrap_renameat(int from_dir, const char *from, int dir, const char *name)
{
	int rc = __real_renameat(from_dir, from, dir, name);

	if (recorded && !rc)
		record(RENAME, 0, 0);
	return rc;
}

/* ---- a disk after the loss ------------------------------------------------------------------ */

struct disk {
	uint8_t *there; /* one byte per block of the new file: its data is on the disk */
	uint64_t bytes; /* size of the new file */
	bool renamed;
};

#define BLOCK 4096u

/* Rebuilds the disk after the first `n` steps and a loss of power. */
static void rebuild(uint32_t n, struct disk *disk)
{
	uint32_t synced = 0, named = 0;

	memset(disk->there, 0, recorded->mapped / BLOCK);
	disk->bytes = 0;
	disk->renamed = false;
	for (uint32_t i = 0; i < n; i++) {
		if (steps[i].verb == SYNC)
			synced = i;
		if (steps[i].verb == SYNC_DIR)
			named = i;
	}
	bool journal = true; /* of the names that are not durable the first ones are there */

	for (uint32_t i = 0; i < n; i++) {
		const struct step *step = &steps[i];
		bool durable = i < synced || coin();

		if (step->verb == WRITE && durable) {
			memset(disk->there + step->offset / BLOCK, 1,
			       (step->len_bytes + BLOCK - 1) / BLOCK);
			if (disk->bytes < step->offset + step->len_bytes)
				disk->bytes = step->offset + step->len_bytes;
		} else if (step->verb == TRIM && durable) {
			disk->bytes = step->offset;
		} else if (step->verb == LINK || step->verb == RENAME) {
			journal = i < named || (journal && coin());
			disk->renamed |= journal && step->verb == RENAME;
		}
	}
}

static bool is_whole(const struct disk *disk)
{
	for (uint64_t at = 0; at < recorded->bytes; at += BLOCK)
		if (!disk->there[at / BLOCK])
			return false;
	return disk->bytes == recorded->bytes;
}

/* Number of losses that break the promise. */
static uint32_t lose_power_everywhere(bool *ever_old, bool *ever_new)
{
	struct disk disk = {.there = calloc(recorded->mapped / BLOCK + 1, 1)};
	uint32_t broken = 0;

	for (uint32_t n = 0; n <= nsteps; n++) {
		bool done = n && steps[n - 1].verb == SAID_DONE;

		for (int loss = 0; loss < LOSSES; loss++) {
			rebuild(n, &disk);
			bool bad = disk.renamed ? !is_whole(&disk) : done;

			broken += bad;
			*ever_new |= disk.renamed;
			*ever_old |= !disk.renamed;
		}
	}
	free(disk.there);
	return broken;
}

static int save(const struct disk_place *place)
{
	struct disk_run run;

	disk_run_init(&run, place, 5 * (size_t)IMAGE_SEGMENT + 1234567);
	nsteps = 0;
	recorded = &run;
	int err = disk_run_open(&run, (struct beam_flush_opts){.write_bytes = 256 << 10});

	if (!err)
		err = disk_run_all(&run);
	if (!err)
		err = beam_file_publish(run.dirfd, run.fd, run.named,
					run.named ? "fallback" : "temp", "dump.rdb");
	record(SAID_DONE, 0, 0);
	bool ever_old = false, ever_new = false;
	uint32_t broken = lose_power_everywhere(&ever_old, &ever_new);

	/* The replay itself works: without the fsync of the file it finds damage. */
	for (uint32_t i = 0; i < nsteps; i++)
		if (steps[i].verb == SYNC)
			steps[i].verb = TRIM, steps[i].offset = run.bytes;
	uint32_t without_sync = lose_power_everywhere(&ever_old, &ever_new);

	recorded = NULL;
	printf("%s: %u steps, %u losses break the promise (%u without fsync)\n", place->dir_name,
	       nsteps, broken, without_sync);
	unlinkat(run.dirfd, "dump.rdb", 0);
	run.named = false;
	disk_run_end(&run);
	return err || broken || !without_sync || !ever_old || !ever_new;
}

int main(void)
{
	const struct disk_place places[] = {
	    {BEAM_DISK_POSIX, "posix", disk_dir("."), "disk"},
	    {BEAM_DISK_POSIX, "posix", disk_dir("/dev/shm"), "shm"},
	};

	return save(&places[0]) | save(&places[1]);
}
