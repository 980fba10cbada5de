/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fills the segments of chunks. A segment's CRC is computed while its bytes are in the cache, and
 * the segment is sealed when it is full. With a pool, long pieces and CRCs are left to the pool's
 * jobs, one per segment. Segments are then sealed as the jobs come back, and the CRC at a chunk's
 * end is filled in at that time.
 */
#include "chunk_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "copy_pool.h"
#include "image_reader.h"
#include "rdb.h"
#include "rdbeam/error.h"

#define CRC_STEP_BYTES  (32u << 10) /* small items: the CRC is updated after this many bytes */
#define BODY_STEP_BYTES (4u << 10)  /* bodies of this size are copied and summed in one go */
#define CRC_BYTES       8           /* at a chunk's end */

void chunk_writer_init(struct chunk_writer *writer, const struct beam_segment_source *source,
		       struct beam_copy_pool *pool)
{
	*writer = (struct chunk_writer){
	    .source = source, .segment_bytes = source->segment_bytes, .pool = pool};
	beam_crc64_shift_init(&writer->segment_shift, source->segment_bytes);
}

/* ---- segments by the pool ------------------------------------------------------------------- */

/* Seals a segment that came back from the pool. Its CRC is known now; if it ends its chunk, so is
 * the chunk's CRC, which goes into the last 8 bytes. */
static int job_seal(struct chunk_writer *writer, struct beam_copy_job *job)
{
	uint64_t *chunk_crc = &writer->lane_crc[job->lane], crc = job->crc;
	const struct beam_segment_source *source = writer->source;

	if (job->error)
		return job->error;
	if (job->ends_chunk) {
		uint8_t *at = job->base + job->len_bytes;
		struct beam_crc64_shift shift;

		beam_crc64_shift_init(&shift, job->len_bytes);
		beam_put_le64(at, beam_crc64_append(*chunk_crc, crc, &shift));
		crc = beam_crc64(crc, at, CRC_BYTES);
		*chunk_crc = 0;
	} else {
		*chunk_crc = beam_crc64_append(*chunk_crc, crc, &writer->segment_shift);
	}
	return source->seal(source->ctx, job->index, writer->segment_bytes, crc);
}

/* Takes back one job; with `wait`, waits for it. 1 if there was one, 0 if not; negative: its
 * error. */
static int job_reap(struct chunk_writer *writer, bool wait)
{
	struct beam_copy_job *job = beam_copy_pool_reap(writer->pool, wait);
	int err;

	if (!job)
		return 0;
	err = job_seal(writer, job);
	beam_copy_pool_free(writer->pool, job);
	return err ? err : 1;
}

static int jobs_drain(struct chunk_writer *writer, bool wait)
{
	int more;

	do
		more = job_reap(writer, wait);
	while (more > 0);
	return more;
}

int chunk_writer_drain(struct chunk_writer *writer)
{
	return writer->pool ? jobs_drain(writer, true) : 0;
}

/* Gives the current segment a job. If all jobs are in use, waits for one to come back. */
static int job_begin(struct chunk_writer *writer, struct chunk *chunk)
{
	int err = jobs_drain(writer, false);

	if (err)
		return err;
	while (!(chunk->job = beam_copy_pool_new(writer->pool))) {
		err = job_reap(writer, true);
		if (err <= 0)
			return err ? err : BEAM_E_ABORTED;
	}
	chunk->job->base = chunk->base;
	chunk->job->index = chunk->first + chunk->current;
	chunk->job->lane = chunk->lane;
	return 0;
}

static void job_submit(struct chunk_writer *writer, struct chunk *chunk)
{
	struct beam_copy_job *job = chunk->job;

	/* A segment has a job from its beginning. NOLINTNEXTLINE(clang-analyzer-core.*) */
	job->ends_chunk = chunk->current + 1 == chunk->nsegments;
	job->len_bytes = writer->segment_bytes - (job->ends_chunk ? CRC_BYTES : 0);
	chunk->job = NULL;
	beam_copy_pool_submit(writer->pool, job);
}

/* ---- chunks --------------------------------------------------------------------------------- */

/* Gets memory for the current segment. If that means waiting, first seals all segments that are in
 * the pool: the memory to come may be that of one of them. */
static int segment_begin(struct chunk_writer *writer, struct chunk *chunk)
{
	const struct beam_segment_source *source = writer->source;
	uint32_t index = chunk->first + chunk->current;
	int err = 0;

	chunk->pos = chunk->crc_pos = 0;
	chunk->crc = 0;
	if (writer->pool && !source->has_slot(source->ctx, index))
		err = jobs_drain(writer, true);
	if (!err)
		err = source->slot(source->ctx, index, &chunk->base);
	if (!err && writer->pool)
		err = job_begin(writer, chunk);
	return err;
}

int chunk_begin(struct chunk_writer *writer, struct chunk *chunk, uint32_t nsegments)
{
	const struct beam_segment_source *source = writer->source;
	uint32_t first;
	int err = source->claim(source->ctx, nsegments, &first);

	if (err)
		return err;
	chunk->first = first;
	chunk->nsegments = nsegments;
	chunk->current = 0;
	chunk->chunk_crc = 0;
	chunk->db = -1;
	chunk->nitems = 0;
	chunk->index_bytes = 0;
	err = segment_begin(writer, chunk);
	chunk->open = !err;
	return err;
}

static void catch_up_crc(struct chunk *chunk)
{
	chunk->crc =
	    beam_crc64(chunk->crc, chunk->base + chunk->crc_pos, chunk->pos - chunk->crc_pos);
	chunk->crc_pos = chunk->pos;
}

/* Seals the current segment, which is full, and begins the next one of the run if there is one. */
static int next_segment(struct chunk_writer *writer, struct chunk *chunk)
{
	const struct beam_segment_source *source = writer->source;

	if (writer->pool) {
		job_submit(writer, chunk);
	} else {
		catch_up_crc(chunk);
		int err = source->seal(source->ctx, chunk->first + chunk->current,
				       writer->segment_bytes, chunk->crc);

		if (err)
			return err;
		chunk->chunk_crc =
		    beam_crc64_append(chunk->chunk_crc, chunk->crc, &writer->segment_shift);
	}
	chunk->current++;
	return chunk->current < chunk->nsegments ? segment_begin(writer, chunk) : 0;
}

/* Copies a piece that fits in the segment. The pool may copy it later if it `stays`. */
static int append_piece(struct chunk_writer *writer, struct chunk *chunk, const uint8_t *from,
			size_t len_bytes, bool stays)
{
	uint8_t *to = chunk->base + chunk->pos;
	bool is_long = from && len_bytes >= BODY_STEP_BYTES;

	chunk->pos += (uint32_t)len_bytes;
	if (is_long && stays && writer->pool)
		return beam_copy_job_add(chunk->job, to, from, len_bytes);
	if (is_long && !writer->pool) {
		chunk->crc = beam_crc64(chunk->crc, chunk->base + chunk->crc_pos,
					(size_t)(to - chunk->base) - chunk->crc_pos);
		chunk->crc = beam_copy_crc(to, from, len_bytes, chunk->crc);
		chunk->crc_pos = chunk->pos;
	} else if (from) {
		memcpy(to, from, len_bytes);
	} else {
		memset(to, 0, len_bytes);
	}
	return 0;
}

int chunk_append(struct chunk_writer *writer, struct chunk *chunk, const void *src,
		 uint64_t len_bytes, bool stays)
{
	const uint8_t *from = src;
	int err = 0;

	while (len_bytes && !err) {
		uint64_t room = writer->segment_bytes - chunk->pos;
		size_t n = (size_t)(len_bytes < room ? len_bytes : room);

		err = append_piece(writer, chunk, from, n, stays);
		if (from)
			from += n;
		len_bytes -= n;
		if (!err && chunk->pos == writer->segment_bytes)
			err = next_segment(writer, chunk);
		else if (!writer->pool && chunk->pos - chunk->crc_pos >= CRC_STEP_BYTES)
			catch_up_crc(chunk);
	}
	return err;
}

static int append(struct chunk_writer *writer, struct chunk *chunk, const void *src,
		  uint64_t len_bytes)
{
	return chunk_append(writer, chunk, src, len_bytes, false);
}

static uint64_t chunk_pos(const struct chunk_writer *writer, const struct chunk *chunk)
{
	return (uint64_t)chunk->current * writer->segment_bytes + chunk->pos;
}

uint64_t chunk_left(const struct chunk_writer *writer, const struct chunk *chunk)
{
	uint64_t used = chunk_pos(writer, chunk) + chunk->index_bytes + BEAM_CHUNK_TAIL_BYTES;
	uint64_t all = (uint64_t)chunk->nsegments * writer->segment_bytes;

	return used < all ? all - used : 0;
}

/* Gives back the segments at the chunk's end that are not needed. */
static void shrink(struct chunk_writer *writer, struct chunk *chunk)
{
	const struct beam_segment_source *source = writer->source;
	uint64_t need = chunk_pos(writer, chunk) + chunk->index_bytes + BEAM_CHUNK_TAIL_BYTES;
	uint32_t keep = (uint32_t)((need + writer->segment_bytes - 1) / writer->segment_bytes);

	if (keep < chunk->nsegments &&
	    source->unclaim(source->ctx, chunk->first + keep, chunk->nsegments - keep) == 0)
		chunk->nsegments = keep;
}

/* Writes the AUX record that fills the chunk to its end: padding, index, footer. */
int chunk_end(struct chunk_writer *writer, struct chunk *chunk)
{
	uint8_t head[BEAM_AUX_FIXED_BYTES] = {BEAM_RDB_OP_AUX, 0, 0x80};
	uint8_t tail[BEAM_CHUNK_FOOTER_BYTES];
	struct beam_chunk_footer footer = {.gen = writer->source->gen};
	struct beam_crc64_shift shift;
	int err;

	shrink(writer, chunk);
	uint64_t all = (uint64_t)chunk->nsegments * writer->segment_bytes;
	uint64_t body = chunk_pos(writer, chunk);
	uint64_t value = all - body - BEAM_AUX_FIXED_BYTES;
	uint64_t padding = value - chunk->index_bytes - BEAM_CHUNK_FOOTER_BYTES;

	head[3] = (uint8_t)(value >> 24);
	head[4] = (uint8_t)(value >> 16);
	head[5] = (uint8_t)(value >> 8);
	head[6] = (uint8_t)value;
	memcpy(footer.magic, BEAM_CHUNK_MAGIC, sizeof(footer.magic));
	footer.first_index = chunk->first;
	footer.nsegments = chunk->nsegments;
	footer.nitems = chunk->nitems;
	footer.index_bytes = (uint32_t)chunk->index_bytes;
	footer.body_bytes = body;
	beam_chunk_footer_put(tail, &footer);
	if ((err = append(writer, chunk, head, sizeof(head))) ||
	    (err = append(writer, chunk, NULL, padding)) ||
	    (err = append(writer, chunk, chunk->index, chunk->index_bytes)) ||
	    (err = append(writer, chunk, tail, sizeof(tail) - CRC_BYTES)))
		return err;
	/* The CRC in the footer is that of the chunk up to it, combined from the CRCs of its
	 * segments. With a pool it is filled in later. (The 8 bytes never straddle a boundary,
	 * because the footer ends with the segment.) */
	if (!writer->pool) {
		catch_up_crc(chunk);
		beam_crc64_shift_init(&shift, chunk->pos);
		beam_put_le64(tail, beam_crc64_append(chunk->chunk_crc, chunk->crc, &shift));
	}
	chunk->open = false;
	return append(writer, chunk, tail, CRC_BYTES);
}

int chunk_add_item(struct chunk *chunk, uint64_t item_bytes)
{
	if (chunk->index_bytes + CHUNK_VARINT_BYTES > chunk->index_cap) {
		size_t cap = chunk->index_cap ? chunk->index_cap * 2 : 64u << 10;
		uint8_t *grown = realloc(chunk->index, cap);

		if (!grown)
			return -ENOMEM;
		chunk->index = grown;
		chunk->index_cap = cap;
	}
	chunk->index_bytes += beam_put_varint(chunk->index + chunk->index_bytes, item_bytes);
	chunk->nitems++;
	return 0;
}
