/* SPDX-License-Identifier: BSD-3-Clause
 * Flushes a known image into a new file, and checks the result. Cases run over every engine and
 * file system of disk_place. */
#ifndef DISK_FIXTURE_H
#define DISK_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk.h"

#define IMAGE_SEGMENT (2u << 20)

struct disk_place {
	enum beam_disk_engine engine;
	const char *engine_name;
	const char *dir; /* the test's own directory on that file system */
	const char *dir_name;
};

struct disk_run {
	const struct disk_place *place;
	struct beam_flush *flush;
	uint8_t *image; /* page-aligned, `bytes` long, readable up to the next whole segment */
	size_t bytes, mapped;
	int dirfd, fd;
	bool direct, named;
	/* counted by the callback */
	uint32_t ndone, nfailed, nfinished;
	int first_error, finish_result;
};

/* Directories for the test: one in the working directory, one in /dev/shm. They are removed at
 * exit. */
const char *disk_dir(const char *below);

/* Makes an image of `bytes` and a file for it. Exits if that fails. */
void disk_run_init(struct disk_run *run, const struct disk_place *place, size_t bytes);
/* Opens the flush with the run's fd and O_DIRECT state. Returns beam_flush_open's code. */
int disk_run_open(struct disk_run *run, struct beam_flush_opts opts);
/* Queues all segments, with their index as cookie. */
void disk_run_write(struct disk_run *run);
/* Reaps until `ndone` writes are done, or the finish if UINT32_MAX; gives up after 20 s. */
bool disk_run_wait(struct disk_run *run, uint32_t ndone);
/* Writes, finishes and waits. Returns the finish's result. */
int disk_run_all(struct disk_run *run);
/* True if the file equals the image. */
bool disk_run_same(const struct disk_run *run);
/* Closes everything. */
void disk_run_end(struct disk_run *run);

/* Number of open file descriptors of this process. */
uint32_t count_fds(void);

#endif
