/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reserves a range of addresses for the largest possible image (or as much as this process can get)
 * without memory behind it; each segment gets its pages when its buffer is requested. File blocks
 * are allocated before they are mapped, so that a full disk is an error here and not a SIGBUS
 * later.
 */
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fault.h"
#include "rdbeam/image_format.h"
#include "scratch.h"
#include "sockets.h"
#include "trim.h"

#define RESERVE_MAX_BYTES (16ull << 40)

struct beam_stage {
	uint64_t memory_bytes; /* not yet used */
	char *dir;
	int fd;
	uint8_t *base;
	uint64_t reserved_bytes;
	uint32_t segment_bytes;
	uint64_t spilled;
	uint8_t *mapped; /* one byte for each segment: it has pages */
	uint64_t *crc;   /* of each segment */
	struct beam_gen gen;
	struct beam_trim trim;
	bool whole; /* is sent */
	uint64_t image_bytes;
	uint64_t fed_bytes;
};

int beam_stage_open(uint64_t memory_bytes, const char *dir, const struct beam_gen *gen,
		    struct beam_stage **out)
{
	struct beam_stage *stage = calloc(1, sizeof(*stage));

	if (!stage)
		return -ENOMEM;
	stage->memory_bytes = memory_bytes;
	stage->fd = -1;
	stage->gen = *gen;
	stage->dir = strdup(dir);
	if (!stage->dir) {
		free(stage);
		return -ENOMEM;
	}
	*out = stage;
	return 0;
}

void beam_stage_close(struct beam_stage **stage)
{
	struct beam_stage *s = *stage;

	if (!s)
		return;
	if (s->base)
		munmap(s->base, s->reserved_bytes);
	beam_close(&s->fd);
	free(s->mapped);
	free(s->crc);
	free(s->dir);
	free(s);
	*stage = NULL;
}

/* Reserves less under RLIMIT_AS, or where a process has only 39 bits of address space (as on some
 * arm64 kernels). */
static void *reserve(uint64_t *bytes, uint64_t least)
{
	void *base;

	for (;; *bytes = *bytes / 2 / least * least) {
		base = mmap(NULL, *bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);
		if (base != MAP_FAILED || *bytes < 2 * least)
			return base;
	}
}

static int stage_begin(void *ctx, uint32_t segment_bytes)
{
	struct beam_stage *stage = ctx;
	uint64_t bytes = (uint64_t)BEAM_SEGMENTS_MAX * segment_bytes;

	if (bytes > RESERVE_MAX_BYTES)
		bytes = RESERVE_MAX_BYTES;
	void *base = reserve(&bytes, segment_bytes);

	if (base == MAP_FAILED)
		return -errno;
	stage->base = base;
	stage->reserved_bytes = bytes;
	stage->segment_bytes = segment_bytes;
	stage->mapped = calloc(bytes / segment_bytes, 1);
	stage->crc = calloc(bytes / segment_bytes, sizeof(*stage->crc));
	return stage->mapped && stage->crc ? 0 : -ENOMEM;
}

static int map_file(struct beam_stage *stage, uint8_t *at, uint64_t offset)
{
	if (stage->fd < 0) {
		stage->fd = beam_scratch_open(stage->dir);
		if (stage->fd < 0)
			return stage->fd;
	}
	int err = posix_fallocate(stage->fd, (off_t)offset, stage->segment_bytes);

	if (err)
		return -err;
	if (mmap(at, stage->segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 stage->fd, (off_t)offset) == MAP_FAILED)
		return -errno;
	stage->spilled += stage->segment_bytes;
	return 0;
}

static int map_memory(struct beam_stage *stage, uint8_t *at)
{
	if (mmap(at, stage->segment_bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	stage->memory_bytes -= stage->segment_bytes;
	return 0;
}

static int stage_room(void *ctx, uint32_t index, uint8_t **buf)
{
	struct beam_stage *stage = ctx;
	uint64_t offset = (uint64_t)index * stage->segment_bytes;
	int rc = BEAM_FAULT("stage-room");

	if (rc)
		return rc;
	if (offset >= stage->reserved_bytes)
		return -EFBIG;
	*buf = stage->base + offset;
	if (stage->mapped[index])
		return 0;
	if (stage->memory_bytes >= stage->segment_bytes)
		rc = map_memory(stage, *buf);
	else
		rc = map_file(stage, *buf, offset);
	stage->mapped[index] = rc == 0;
	return rc;
}

static int stage_take(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		      const struct beam_segment_proof *proof)
{
	struct beam_stage *stage = ctx;

	(void)buf, (void)len_bytes; /* the buffer is already in its place */
	stage->crc[index] = proof->crc;
	return 0;
}

/* Reserved addresses have no memory yet, so there is nothing to register in advance. */
static void *stage_memory(void *ctx, uint64_t *len_bytes)
{
	(void)ctx;
	*len_bytes = 0;
	return NULL;
}

static void stage_back(void *ctx, uint32_t index, uint8_t *buf)
{
	(void)ctx, (void)index, (void)buf;
}

void beam_stage_sink(struct beam_stage *stage, struct beam_segment_sink *out)
{
	*out = (struct beam_segment_sink){.ctx = stage,
					  .begin = stage_begin,
					  .room = stage_room,
					  .take = stage_take,
					  .back = stage_back,
					  .memory = stage_memory,
					  .wake_fd = -1,
					  .place = stage->dir,
					  .when_full = "make room there, raise --buffer, or "
						       "give another --spill-dir"};
}

void beam_stage_finish(struct beam_stage *stage, uint64_t image_bytes)
{
	stage->image_bytes = image_bytes;
	stage->fed_bytes = 0;
}

static uint32_t next_bytes(const struct beam_stage *stage)
{
	uint64_t left = stage->image_bytes - stage->fed_bytes;

	return left < stage->segment_bytes ? (uint32_t)left : stage->segment_bytes;
}

static int stage_next(void *ctx, const uint8_t **base, uint32_t *len_bytes, int timeout_ms)
{
	struct beam_stage *stage = ctx;

	uint32_t index = (uint32_t)(stage->fed_bytes / stage->segment_bytes);
	uint32_t left = next_bytes(stage);

	(void)timeout_ms;
	if (!left)
		return 0;
	*base = stage->base + stage->fed_bytes;
	*len_bytes = stage->whole ? left
				  : beam_trim_next(&stage->trim, stage->base + stage->fed_bytes,
						   left, index, stage->crc[index]);
	return 1;
}

static void stage_release(void *ctx)
{
	struct beam_stage *stage = ctx;

	stage->fed_bytes += next_bytes(stage);
}

static uint64_t sent_bytes(const struct beam_stage *stage)
{
	uint64_t sent = 0, at = 0;

	for (uint32_t i = 0; at < stage->image_bytes; i++, at += stage->segment_bytes) {
		uint64_t left = stage->image_bytes - at;

		left = left < stage->segment_bytes ? left : stage->segment_bytes;
		sent += beam_trim_bytes(&stage->trim, stage->base + at, (uint32_t)left, i);
	}
	return sent;
}

void beam_stage_source(struct beam_stage *stage, bool whole, struct beam_image_source *out)
{
	stage->whole = whole;
	beam_trim_init(&stage->trim, &stage->gen, stage->segment_bytes);
	*out = (struct beam_image_source){.ctx = stage,
					  .length_bytes =
					      whole ? stage->image_bytes : sent_bytes(stage),
					  .next = stage_next,
					  .release = stage_release};
}

const uint8_t *beam_stage_bytes(const struct beam_stage *stage)
{
	return stage->base;
}

uint64_t beam_stage_image_bytes(const struct beam_stage *stage)
{
	return stage->image_bytes;
}

uint64_t beam_stage_spilled(const struct beam_stage *stage)
{
	return stage->spilled;
}
