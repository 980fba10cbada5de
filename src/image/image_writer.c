/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Records into chunks. A writer keeps two chunks open: one for small items, a segment at a time,
 * and one for items that would waste a good part of a segment, in runs long enough that they cross
 * the inner boundaries. An item that fits neither gets a chunk of its own. Every segment's CRC is
 * taken while its bytes are in the cache, and the segment is sealed as soon as the next one is
 * begun. With a pool, long pieces and the CRCs are left to its jobs, one for each segment; segments
 * are then sealed as the jobs come back, and what a chunk's end says of its CRC is put in there.
 */
#include "image_writer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "copy_pool.h"
#include "crc64.h"
#include "image_header.h"
#include "image_reader.h"
#include "rdb.h"
#include "rdbeam/error.h"

#define CRC_STEP_BYTES                                                                             \
	(32u << 10) /* small items: their CRC is taken each time this much has come */
#define BODY_STEP_BYTES (4u << 10) /* a body of at least this is copied and summed in one go */
#define RUN_MAX         16 /* segments of a run for large items, unless one item needs more */
#define VARINT_BYTES    10
#define CRC_BYTES       8 /* at a chunk's end */

/* Chunks that can be open at a time; the number is told to their jobs. */
enum chunk_lane { LANE_SMALL, LANE_LARGE, LANE_ALONE, LANES };

struct chunk {
	bool open;
	uint32_t first, nsegments; /* claimed */
	uint32_t current;          /* segment being filled, from 0 */
	uint8_t *base;             /* of the current segment */
	uint32_t pos;              /* in it */
	uint32_t crc_pos;          /* its bytes below this are in `crc` */
	uint64_t crc;              /* of the current segment */
	uint64_t chunk_crc;        /* of the sealed segments before it */
	enum chunk_lane lane;
	struct beam_copy_job *job; /* of the current segment, with a pool */
	int64_t db;                /* selected at this point, -1: none */
	uint32_t nitems;
	uint8_t *index;
	size_t index_bytes, index_cap;
};

struct beam_image_writer {
	const struct beam_segment_source *source;
	uint32_t segment_bytes;
	struct beam_crc64_shift segment_shift;
	struct chunk small, large;
	uint32_t large_segments; /* claimed for large items so far */
	struct beam_copy_pool *pool;
	uint64_t lane_crc[LANES]; /* of a chunk's segments that came back from the pool */
};

int beam_image_writer_open(const struct beam_segment_source *source, struct beam_copy_pool *pool,
			   struct beam_image_writer **out)
{
	struct beam_image_writer *writer = calloc(1, sizeof(*writer));

	if (!writer)
		return -ENOMEM;
	writer->source = source;
	writer->segment_bytes = source->segment_bytes;
	writer->pool = pool;
	writer->large.lane = LANE_LARGE;
	beam_crc64_shift_init(&writer->segment_shift, source->segment_bytes);
	*out = writer;
	return 0;
}

void beam_image_writer_close(struct beam_image_writer **writer)
{
	if (!*writer)
		return;
	free((*writer)->small.index);
	free((*writer)->large.index);
	free(*writer);
	*writer = NULL;
}

/* ---- segments by the pool ------------------------------------------------------------------- */

/* A segment came back: its CRC is known now, and with it that of the chunk, which its last 8 bytes
 * tell. */
static int job_seal(struct beam_image_writer *writer, struct beam_copy_job *job)
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

/* Takes back one job, waiting for it if told so. 1: there was one. Negative: its error. */
static int job_reap(struct beam_image_writer *writer, bool wait)
{
	struct beam_copy_job *job = beam_copy_pool_reap(writer->pool, wait);
	int err;

	if (!job)
		return 0;
	err = job_seal(writer, job);
	beam_copy_pool_free(writer->pool, job);
	return err ? err : 1;
}

static int jobs_drain(struct beam_image_writer *writer, bool wait)
{
	int more;

	do
		more = job_reap(writer, wait);
	while (more > 0);
	return more;
}

/* Gives the current segment a job. */
static int job_begin(struct beam_image_writer *writer, struct chunk *chunk)
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

static void job_submit(struct beam_image_writer *writer, struct chunk *chunk)
{
	struct beam_copy_job *job = chunk->job;

	job->ends_chunk = chunk->current + 1 == chunk->nsegments;
	job->len_bytes = writer->segment_bytes - (job->ends_chunk ? CRC_BYTES : 0);
	chunk->job = NULL;
	beam_copy_pool_submit(writer->pool, job);
}

/* ---- chunks --------------------------------------------------------------------------------- */

/* Finds memory for the current segment. Where it has to be waited for, what is under way is sealed
 * first: the memory may be one of those segments'. */
static int segment_begin(struct beam_image_writer *writer, struct chunk *chunk)
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

static int chunk_begin(struct beam_image_writer *writer, struct chunk *chunk, uint32_t nsegments)
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

/* The current segment is full: seals it and moves on to the next of the run, if there is one. */
static int next_segment(struct beam_image_writer *writer, struct chunk *chunk)
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

/* Copies what fits the segment; what `stays` may be copied later. */
static int append_piece(struct beam_image_writer *writer, struct chunk *chunk, const uint8_t *from,
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

static int append_all(struct beam_image_writer *writer, struct chunk *chunk, const void *src,
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

/* Appends bytes; src NULL appends zeros. The caller has checked that they fit the chunk. */
static int append(struct beam_image_writer *writer, struct chunk *chunk, const void *src,
		  uint64_t len_bytes)
{
	return append_all(writer, chunk, src, len_bytes, false);
}

static uint64_t chunk_pos(const struct beam_image_writer *writer, const struct chunk *chunk)
{
	return (uint64_t)chunk->current * writer->segment_bytes + chunk->pos;
}

static uint64_t chunk_left(const struct beam_image_writer *writer, const struct chunk *chunk)
{
	uint64_t used = chunk_pos(writer, chunk) + chunk->index_bytes + BEAM_CHUNK_TAIL_BYTES;
	uint64_t all = (uint64_t)chunk->nsegments * writer->segment_bytes;

	return used < all ? all - used : 0;
}

/* Gives back whole segments at the chunk's end that its tail does not need. */
static void shrink(struct beam_image_writer *writer, struct chunk *chunk)
{
	const struct beam_segment_source *source = writer->source;
	uint64_t need = chunk_pos(writer, chunk) + chunk->index_bytes + BEAM_CHUNK_TAIL_BYTES;
	uint32_t keep = (uint32_t)((need + writer->segment_bytes - 1) / writer->segment_bytes);

	if (keep < chunk->nsegments &&
	    source->unclaim(source->ctx, chunk->first + keep, chunk->nsegments - keep) == 0)
		chunk->nsegments = keep;
}

/* Writes the AUX record that reaches to the chunk's end: padding, index, footer. */
static int chunk_end(struct beam_image_writer *writer, struct chunk *chunk)
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
	/* The footer's CRC is that of the chunk so far, joined from its segments' CRCs; with a pool
	 * it comes later. (The 8 bytes never straddle a boundary: the footer ends with the segment.)
	 */
	if (!writer->pool) {
		catch_up_crc(chunk);
		beam_crc64_shift_init(&shift, chunk->pos);
		beam_put_le64(tail, beam_crc64_append(chunk->chunk_crc, chunk->crc, &shift));
	}
	chunk->open = false;
	return append(writer, chunk, tail, CRC_BYTES);
}

static int index_add(struct chunk *chunk, uint64_t item_bytes)
{
	if (chunk->index_bytes + VARINT_BYTES > chunk->index_cap) {
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

struct item {
	uint32_t db;
	const void *head, *body;
	size_t head_bytes, body_bytes;
};

/* Upper bound of what an item takes in a chunk, index included. */
static uint64_t item_bound(const struct item *item)
{
	return 1 + BEAM_RDB_LEN_MAX_BYTES + (uint64_t)item->head_bytes + item->body_bytes +
	       VARINT_BYTES;
}

static int item_write(struct beam_image_writer *writer, struct chunk *chunk,
		      const struct item *item)
{
	uint8_t select[1 + BEAM_RDB_LEN_MAX_BYTES] = {BEAM_RDB_OP_SELECTDB};
	size_t select_bytes = 0;
	int err;

	if (chunk->db != (int64_t)item->db) {
		select_bytes = 1 + beam_rdb_put_len(select + 1, item->db);
		chunk->db = item->db;
	}
	if ((err = index_add(chunk, select_bytes + item->head_bytes + item->body_bytes)) ||
	    (err = append(writer, chunk, select, select_bytes)) ||
	    (err = append(writer, chunk, item->head, item->head_bytes)) ||
	    (err = append_all(writer, chunk, item->body, item->body_bytes, true)))
		return err;
	return 0;
}

/* Segments of a run for items of about `bytes`: the length that wastes least. Runs grow with what has
 * been written, since the end of a writer's last run may have to be filled. */
static uint32_t best_run(const struct beam_image_writer *writer, uint64_t bytes)
{
	uint64_t segment = writer->segment_bytes;
	uint64_t least = (bytes + BEAM_CHUNK_TAIL_BYTES + segment - 1) / segment;
	uint64_t most = 1 + writer->large_segments / 4;
	uint32_t best = (uint32_t)least;
	double best_use = 0;

	for (uint64_t n = least; n <= RUN_MAX && n <= most; n++) {
		uint64_t room = n * segment - BEAM_CHUNK_TAIL_BYTES;
		uint64_t used = room / bytes * bytes; /* by whole values */
		double use = (double)used / (double)(n * segment);

		if (use > best_use + 0.005) {
			best = (uint32_t)n;
			best_use = use;
		}
	}
	return best;
}

static int put_alone(struct beam_image_writer *writer, const struct item *item)
{
	struct chunk chunk = {.lane = LANE_ALONE};
	uint64_t need = item_bound(item) + BEAM_CHUNK_TAIL_BYTES;
	uint64_t n = (need + writer->segment_bytes - 1) / writer->segment_bytes;
	int err = n > BEAM_SEGMENTS_MAX ? BEAM_E_FULL : 0;

	if (!err)
		err = chunk_begin(writer, &chunk, (uint32_t)n);
	if (!err)
		err = item_write(writer, &chunk, item);
	if (!err)
		err = chunk_end(writer, &chunk);
	free(chunk.index);
	return err;
}

static int put_in(struct beam_image_writer *writer, struct chunk *chunk, const struct item *item,
		  uint32_t run)
{
	int err = 0;

	if (chunk->open && chunk_left(writer, chunk) < item_bound(item))
		err = chunk_end(writer, chunk);
	if (!err && !chunk->open)
		err = chunk_begin(writer, chunk, run);
	return err ? err : item_write(writer, chunk, item);
}

int beam_image_writer_put(struct beam_image_writer *writer, uint32_t db, const void *head,
			  size_t head_bytes, const void *body, size_t body_bytes)
{
	struct item item = {db, head, body, head_bytes, body_bytes};
	struct chunk *large = &writer->large;
	uint64_t bound = item_bound(&item);

	if (bound < writer->segment_bytes / 16)
		return put_in(writer, &writer->small, &item, 1);
	/* A run with much room left is not closed for one item that is too large for such a run. */
	uint64_t run = (uint64_t)large->nsegments * writer->segment_bytes;

	if (large->open && bound > run && chunk_left(writer, large) > run / 8)
		return put_alone(writer, &item);
	if (bound > (uint64_t)RUN_MAX / 2 * writer->segment_bytes)
		return put_alone(writer, &item);
	int err = put_in(writer, large, &item, best_run(writer, bound));

	if (!err && large->nitems == 1) /* begun with this item */
		writer->large_segments += large->nsegments;
	return err;
}

int beam_image_writer_flush(struct beam_image_writer *writer)
{
	int err = 0;

	/* The newest claim first: only that can be given back. */
	if (writer->large.open)
		err = chunk_end(writer, &writer->large);
	if (!err && writer->small.open)
		err = chunk_end(writer, &writer->small);
	if (!err && writer->pool)
		err = jobs_drain(writer, true);
	return err;
}

/* ---- the header chunk ----------------------------------------------------------------------- */

int beam_image_write_header(const struct beam_segment_source *source,
			    const struct beam_image_header *header)
{
	struct beam_image_writer *writer = NULL;
	struct chunk chunk = {0};
	uint8_t *bytes = NULL;
	size_t len;
	int err = beam_image_header_build(header, &bytes, &len);

	if (!err)
		err = beam_image_writer_open(source, NULL, &writer);
	if (!err)
		err = chunk_begin(
		    writer, &chunk,
		    (uint32_t)((len + BEAM_CHUNK_TAIL_BYTES + source->segment_bytes - 1) /
			       source->segment_bytes));
	if (!err)
		err = append(writer, &chunk, bytes, len);
	if (!err)
		err = chunk_end(writer, &chunk);
	free(bytes);
	beam_image_writer_close(&writer);
	return err;
}
