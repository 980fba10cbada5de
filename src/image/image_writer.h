/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes records into chunks of segments (rdbeam/image_format.h). Each worker has a writer; the
 * coordinator writes the header chunk first and the last segment at the end. Memory: a small index
 * buffer for each writer; payload is copied once, straight into the slot, its CRC taken on the way.
 * Not thread-safe.
 */
#ifndef BEAM_IMAGE_WRITER_H
#define BEAM_IMAGE_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "segment_source.h"

struct beam_image_writer;
struct beam_copy_pool;

/* With a pool (NULL: none), which must outlive the writer, long pieces are copied by its threads. */
int beam_image_writer_open(const struct beam_segment_source *source, struct beam_copy_pool *pool,
			   struct beam_image_writer **out);
/* Frees; an open chunk is left unsealed. NULL-safe, clears the pointer. */
void beam_image_writer_close(struct beam_image_writer **writer);

/* Appends one item. `head`: opcodes, type, key, and the value's first bytes; `body`: the rest of
 * the value, straight from where it lies; with a pool it must stay there until the flush. The writer
 * puts SELECTDB in front where it is needed. 0 or the source's code. */
int beam_image_writer_put(struct beam_image_writer *writer, uint32_t db, const void *head,
			  size_t head_bytes, const void *body, size_t body_bytes);

/* Takes a piece of a value. 0 or a code, which ends it. */
typedef int beam_image_add_fn(void *to, const void *bytes, size_t len_bytes);
/* Gives a value's bytes to `add`, with `to`, in pieces. 0 or a code. */
typedef int beam_image_pieces_fn(void *arg, beam_image_add_fn *add, void *to);

/* The same for a body of body_bytes that `pieces` gives during the call. BEAM_E_COUNT if it gives more or less: the image
 * cannot be gone on with then, nor after another code. */
int beam_image_writer_put_pieces(struct beam_image_writer *writer, uint32_t db, const void *head,
				 size_t head_bytes, uint64_t body_bytes,
				 beam_image_pieces_fn *pieces, void *arg);

/* Seals the open chunk, if there is one; the writer can be used again. */
int beam_image_writer_flush(struct beam_image_writer *writer);

struct beam_image_db_size {
	uint32_t db;
	uint64_t keys, expires;
};

/* An AUX field of the header; value is text. */
struct beam_image_aux {
	const char *key;
	const char *value;
};

struct beam_image_header {
	uint16_t rdb_version; /* that of the server's DUMP payloads */
	const struct beam_image_aux *aux;
	size_t naux;
	const void
	    *module_aux; /* records of module AUX data that come before the keys; may be NULL */
	size_t module_aux_bytes;
	const void *functions; /* FUNCTION DUMP payload without its 10-byte footer; may be NULL */
	size_t functions_bytes;
	const struct beam_image_db_size *dbs; /* databases that hold keys */
	size_t ndbs;
};

/* Writes and seals the header chunk: must be the first claim of the generation (index 0). */
int beam_image_write_header(const struct beam_segment_source *source,
			    const struct beam_image_header *header);

/* After all writers have flushed: a chunk of records of module AUX data that come behind the keys. */
int beam_image_write_module_aux(const struct beam_segment_source *source, const void *bytes,
				size_t len_bytes);

struct beam_image_totals {
	uint64_t nitems, nexpired; /* in */
	uint32_t nsegments;        /* out: of the file, the last included */
	uint64_t image_bytes;      /* out */
	uint64_t file_crc;         /* out */
};

/* After all writers have flushed: claims and seals the last segment (manifest, FF, CRC64).
 * `before_seal` (may be NULL) is called with the total number of segments just before the last
 * seal. BEAM_E_FULL when the manifest does not fit a segment. */
int beam_image_write_last(const struct beam_segment_source *source,
			  struct beam_image_totals *totals,
			  void (*before_seal)(void *arg, uint32_t nsegments), void *arg);

#endif
