/* SPDX-License-Identifier: BSD-3-Clause
 * A flush of a known image into a fresh file, and looking at what came of it. Cases run over every
 * engine and file system of disk_place. */
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
	const char *dir; /* the test's own, below a directory of that file system */
	const char *dir_name;
};

struct disk_run {
	const struct disk_place *place;
	struct beam_flush *flush;
	uint8_t *image; /* page-aligned, `bytes` long, readable up to the next whole segment */
	size_t bytes, mapped;
	int dirfd, fd;
	bool direct, named;
	/* from callbacks */
	uint32_t ndone, nfailed, nfinished;
	int first_error, finish_result;
};

/* Directories for the test: one in the working directory, one in /dev/shm. Removed at exit. */
const char *disk_dir(const char *below);

/* An image of `bytes` and a file for it. Fails the program when it cannot. */
void disk_run_init(struct disk_run *run, const struct disk_place *place, size_t bytes);
/* Opens the flush with the run's fd and O_DIRECT state. Returns beam_flush_open's code. */
int disk_run_open(struct disk_run *run, struct beam_flush_opts opts);
/* Hands in all segments, cookie = index. */
void disk_run_write(struct disk_run *run);
/* Reaps until `ndone` writes are done, or the finish with UINT32_MAX; gives up after 20 s. */
bool disk_run_wait(struct disk_run *run, uint32_t ndone);
/* write, finish, wait. The finish's result. */
int disk_run_all(struct disk_run *run);
/* True if the file is the image, to the byte. */
bool disk_run_same(const struct disk_run *run);
/* Closes everything. */
void disk_run_end(struct disk_run *run);

/* Open file descriptors of this process. */
uint32_t count_fds(void);

#endif
