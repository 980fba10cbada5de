/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Puts records into chunks. A writer keeps two chunks open: one for small items, which is a single
 * segment, and one for items that would waste a good part of a segment, which is a run of segments
 * long enough that its items cross the inner boundaries. An item that fits in neither gets a chunk
 * of its own.
 */
#include "image_writer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "chunk_writer.h"
#include "image_header.h"
#include "image_reader.h"
#include "rdb.h"
#include "rdbeam/error.h"

#define RUN_MAX 16 /* segments of a run for large items, unless one item needs more */

struct beam_image_writer {
	struct chunk_writer chunks;
	struct chunk small, large;
	uint32_t large_segments; /* claimed for large items so far */
};

int beam_image_writer_open(const struct beam_segment_source *source, struct beam_copy_pool *pool,
			   struct beam_image_writer **out)
{
	struct beam_image_writer *writer = calloc(1, sizeof(*writer));

	if (!writer)
		return -ENOMEM;
	chunk_writer_init(&writer->chunks, source, pool);
	writer->large.lane = LANE_LARGE;
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

struct item {
	uint32_t db;
	const void *head, *body;
	size_t head_bytes, body_bytes;
	beam_image_pieces_fn *pieces; /* not NULL: it produces the body */
	void *arg;
};

/* Upper bound of the bytes that an item takes in a chunk, including the index. */
static uint64_t item_bound(const struct item *item)
{
	return 1 + BEAM_RDB_LEN_MAX_BYTES + (uint64_t)item->head_bytes + item->body_bytes +
	       CHUNK_VARINT_BYTES;
}

struct body {
	struct beam_image_writer *writer;
	struct chunk *chunk;
	uint64_t left; /* bytes to come */
};

static int add_piece(void *to, const void *bytes, size_t len_bytes)
{
	struct body *body = to;

	if (len_bytes > body->left)
		return BEAM_E_COUNT;
	body->left -= len_bytes;
	return chunk_append(&body->writer->chunks, body->chunk, bytes, len_bytes, false);
}

static int body_write(struct beam_image_writer *writer, struct chunk *chunk,
		      const struct item *item)
{
	struct body body = {writer, chunk, item->body_bytes};

	if (!item->pieces)
		return chunk_append(&writer->chunks, chunk, item->body, item->body_bytes, true);
	int err = item->pieces(item->arg, add_piece, &body);

	return err ? err : body.left ? BEAM_E_COUNT : 0;
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
	if ((err = chunk_add_item(chunk, select_bytes + item->head_bytes + item->body_bytes)) ||
	    (err = chunk_append(&writer->chunks, chunk, select, select_bytes, false)) ||
	    (err = chunk_append(&writer->chunks, chunk, item->head, item->head_bytes, false)) ||
	    (err = body_write(writer, chunk, item)))
		return err;
	return 0;
}

/* Length in segments of a run for items of about `bytes`: the one that wastes least. The longest
 * run allowed grows with what has been written, because the end of a writer's last run may remain
 * unused. */
static uint32_t best_run(const struct beam_image_writer *writer, uint64_t bytes)
{
	uint64_t segment = writer->chunks.segment_bytes;
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
	uint64_t n = (need + writer->chunks.segment_bytes - 1) / writer->chunks.segment_bytes;
	int err = n > BEAM_SEGMENTS_MAX ? BEAM_E_FULL : 0;

	if (!err)
		err = chunk_begin(&writer->chunks, &chunk, (uint32_t)n);
	if (!err)
		err = item_write(writer, &chunk, item);
	if (!err)
		err = chunk_end(&writer->chunks, &chunk);
	free(chunk.index);
	return err;
}

static int put_in(struct beam_image_writer *writer, struct chunk *chunk, const struct item *item,
		  uint32_t run)
{
	int err = 0;

	if (chunk->open && chunk_left(&writer->chunks, chunk) < item_bound(item))
		err = chunk_end(&writer->chunks, chunk);
	if (!err && !chunk->open)
		err = chunk_begin(&writer->chunks, chunk, run);
	return err ? err : item_write(writer, chunk, item);
}

static int item_put(struct beam_image_writer *writer, const struct item *item)
{
	struct chunk *large = &writer->large;
	uint64_t bound = item_bound(item);

	if (bound < writer->chunks.segment_bytes / 16)
		return put_in(writer, &writer->small, item, 1);
	/* A run with much room left is not ended for one item that is too large for such a run. */
	uint64_t run = (uint64_t)large->nsegments * writer->chunks.segment_bytes;

	if (large->open && bound > run && chunk_left(&writer->chunks, large) > run / 8)
		return put_alone(writer, item);
	if (bound > (uint64_t)RUN_MAX / 2 * writer->chunks.segment_bytes)
		return put_alone(writer, item);
	int err = put_in(writer, large, item, best_run(writer, bound));

	if (!err && large->nitems == 1) /* this item began the run */
		writer->large_segments += large->nsegments;
	return err;
}

int beam_image_writer_put(struct beam_image_writer *writer, uint32_t db, const void *head,
			  size_t head_bytes, const void *body, size_t body_bytes)
{
	const struct item item = {.db = db,
				  .head = head,
				  .body = body,
				  .head_bytes = head_bytes,
				  .body_bytes = body_bytes};

	return item_put(writer, &item);
}

int beam_image_writer_put_pieces(struct beam_image_writer *writer, uint32_t db, const void *head,
				 size_t head_bytes, uint64_t body_bytes,
				 beam_image_pieces_fn *pieces, void *arg)
{
	const struct item item = {.db = db,
				  .head = head,
				  .head_bytes = head_bytes,
				  .body_bytes = body_bytes,
				  .pieces = pieces,
				  .arg = arg};

	return item_put(writer, &item);
}

int beam_image_writer_flush(struct beam_image_writer *writer)
{
	int err = 0;

	/* End the newest claim first: only that one can be given back. */
	if (writer->large.open)
		err = chunk_end(&writer->chunks, &writer->large);
	if (!err && writer->small.open)
		err = chunk_end(&writer->chunks, &writer->small);
	return err ? err : chunk_writer_drain(&writer->chunks);
}

/* ---- chunks without items ------------------------------------------------------------------- */

static int write_records(const struct beam_segment_source *source, const void *bytes,
			 size_t len_bytes)
{
	struct chunk_writer writer;
	struct chunk chunk = {0};
	uint64_t segment = source->segment_bytes;
	uint64_t n = (len_bytes + BEAM_CHUNK_TAIL_BYTES + segment - 1) / segment;
	int err = n > BEAM_SEGMENTS_MAX ? BEAM_E_FULL : 0;

	chunk_writer_init(&writer, source, NULL);
	if (!err)
		err = chunk_begin(&writer, &chunk, (uint32_t)n);
	if (!err)
		err = chunk_append(&writer, &chunk, bytes, len_bytes, false);
	return err ? err : chunk_end(&writer, &chunk);
}

int beam_image_write_header(const struct beam_segment_source *source,
			    const struct beam_image_header *header)
{
	uint8_t *bytes = NULL;
	size_t len;
	int err = beam_image_header_build(header, &bytes, &len);

	if (!err)
		err = write_records(source, bytes, len);
	free(bytes);
	return err;
}

int beam_image_write_module_aux(const struct beam_segment_source *source, const void *bytes,
				size_t len_bytes)
{
	return write_records(source, bytes, len_bytes);
}
