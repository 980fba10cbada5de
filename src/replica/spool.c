/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Two rings, one in memory and one in a file. One rule keeps the order: while the file holds bytes,
 * new bytes go to the file, too. The reader empties memory first, because what is there is older.
 */
#include "spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdbeam/error.h"
#include "scratch.h"
#include "sockets.h"

struct ring {
	uint64_t cap;
	uint64_t start; /* position of the oldest byte, below cap */
	uint64_t len;
};

struct beam_spool {
	struct ring memory;
	struct ring file;
	uint8_t *bytes;
	int fd; /* -1 until the first spill */
	char *dir;
	uint64_t spilled;
};

int beam_spool_open(uint64_t memory_bytes, uint64_t spill_bytes, const char *spill_dir,
		    struct beam_spool **out)
{
	struct beam_spool *spool = calloc(1, sizeof(*spool));

	if (!spool)
		return -ENOMEM;
	spool->fd = -1;
	spool->memory.cap = memory_bytes;
	spool->file.cap = spill_bytes;
	spool->bytes = malloc(memory_bytes ? memory_bytes : 1);
	spool->dir = strdup(spill_dir);
	if (!spool->bytes || !spool->dir) {
		beam_spool_close(&spool);
		return -ENOMEM;
	}
	*out = spool;
	return 0;
}

void beam_spool_close(struct beam_spool **spool)
{
	if (!*spool)
		return;
	beam_close(&(*spool)->fd);
	free((*spool)->bytes);
	free((*spool)->dir);
	free(*spool);
	*spool = NULL;
}

/* The contiguous space of a ring that can be filled. */
static uint64_t ring_room(const struct ring *ring, uint64_t want, uint64_t *at)
{
	uint64_t end = ring->start + ring->len;

	*at = end >= ring->cap ? end - ring->cap : end;
	uint64_t run =
	    *at >= ring->start && ring->len < ring->cap ? ring->cap - *at : ring->start - *at;

	return run < want ? run : want;
}

static uint64_t ring_run(const struct ring *ring, uint64_t want)
{
	uint64_t run = ring->cap - ring->start;

	if (run > ring->len)
		run = ring->len;
	return run < want ? run : want;
}

static void ring_consume(struct ring *ring, uint64_t n)
{
	ring->len -= n;
	ring->start = ring->len ? (ring->start + n) % ring->cap : 0;
}

static int write_at(int fd, const uint8_t *data, uint64_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		len -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int put_file(struct beam_spool *spool, const uint8_t *data, uint64_t len)
{
	if (spool->fd < 0) {
		spool->fd = beam_scratch_open(spool->dir);
		if (spool->fd < 0)
			return spool->fd;
	}
	while (len) {
		uint64_t at;
		uint64_t n = ring_room(&spool->file, len, &at);
		int rc = write_at(spool->fd, data, n, at);

		if (rc)
			return rc;
		spool->file.len += n;
		spool->spilled += n;
		data += n;
		len -= n;
	}
	return 0;
}

int beam_spool_put(struct beam_spool *spool, const void *data, size_t len_bytes)
{
	const uint8_t *in = data;
	uint64_t left = len_bytes;
	uint64_t in_memory = spool->file.len ? 0 : spool->memory.cap - spool->memory.len;

	if (in_memory > left)
		in_memory = left;
	if (left - in_memory > spool->file.cap - spool->file.len)
		return BEAM_E_FULL;
	for (left -= in_memory; in_memory;) {
		uint64_t at;
		uint64_t n = ring_room(&spool->memory, in_memory, &at);

		memcpy(spool->bytes + at, in, n);
		spool->memory.len += n;
		in += n;
		in_memory -= n;
	}
	return left ? put_file(spool, in, left) : 0;
}

long beam_spool_get(struct beam_spool *spool, void *out, size_t cap)
{
	uint64_t n;

	if (spool->memory.len) {
		n = ring_run(&spool->memory, cap);
		memcpy(out, spool->bytes + spool->memory.start, n);
		ring_consume(&spool->memory, n);
		return (long)n;
	}
	n = ring_run(&spool->file, cap);
	if (!n)
		return 0;
	ssize_t got;

	do {
		got = pread(spool->fd, out, n, (off_t)spool->file.start);
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? -errno : -EIO;
	ring_consume(&spool->file, (uint64_t)got);
	return got;
}

uint64_t beam_spool_length(const struct beam_spool *spool)
{
	return spool->memory.len + spool->file.len;
}

const char *beam_spool_dir(const struct beam_spool *spool)
{
	return spool->dir;
}

uint64_t beam_spool_spilled(const struct beam_spool *spool)
{
	return spool->spilled;
}
