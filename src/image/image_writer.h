/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes records into chunks of segments (rdbeam/image_format.h). Each worker has a writer; the
 * coordinator writes the header chunk first and the last segment at the end. A writer allocates a
 * small index buffer only: payload is copied once, straight into the segment, and its CRC is
 * computed on the way. Not thread-safe.
 */
#ifndef BEAM_IMAGE_WRITER_H
#define BEAM_IMAGE_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "segment_source.h"

struct beam_image_writer;
struct beam_copy_pool;

/* Creates a writer. With a pool (NULL: none), which must outlive the writer, the pool's threads
 * copy long pieces. 0 or -ENOMEM. */
int beam_image_writer_open(const struct beam_segment_source *source, struct beam_copy_pool *pool,
			   struct beam_image_writer **out);
/* Frees the writer; an open chunk is left unsealed. Accepts NULL, clears the pointer. */
void beam_image_writer_close(struct beam_image_writer **writer);

/* Appends an item. `head` is opcodes, type, key, and the first bytes of the value; `body` is the
 * rest of the value, in place: with a pool it must stay valid until the flush. The writer adds
 * SELECTDB where needed. 0 or the source's code. */
int beam_image_writer_put(struct beam_image_writer *writer, uint32_t db, const void *head,
			  size_t head_bytes, const void *body, size_t body_bytes);

/* Receives a piece of a value. 0, or a negative code, which ends the value. */
typedef int beam_image_add_fn(void *to, const void *bytes, size_t len_bytes);
/* Passes a value's bytes to `add`, with `to`, in pieces. 0 or a negative code. */
typedef int beam_image_pieces_fn(void *arg, beam_image_add_fn *add, void *to);

/* The same for a body of body_bytes, which `pieces` produces during the call. BEAM_E_COUNT if it
 * produces more or less. After this or any other error the image cannot be continued. */
int beam_image_writer_put_pieces(struct beam_image_writer *writer, uint32_t db, const void *head,
				 size_t head_bytes, uint64_t body_bytes,
				 beam_image_pieces_fn *pieces, void *arg);

/* Ends the open chunks, and waits for the pool. The writer can be used again. 0 or a negative
 * code. */
int beam_image_writer_flush(struct beam_image_writer *writer);

struct beam_image_db_size {
	uint32_t db;
	uint64_t keys, expires;
};

/* An AUX field of the header; both are text. */
struct beam_image_aux {
	const char *key;
	const char *value;
};

struct beam_image_header {
	uint16_t rdb_version; /* that of the server's DUMP payloads */
	const struct beam_image_aux *aux;
	size_t naux;
	/* Records of module AUX data that precede the keys; may be NULL. */
	const void *module_aux;
	size_t module_aux_bytes;
	const void *functions; /* FUNCTION DUMP payload without its 10-byte footer; may be NULL */
	size_t functions_bytes;
	const struct beam_image_db_size *dbs; /* databases with keys */
	size_t ndbs;
};

/* Writes and seals the header chunk. It must be the first claim of the generation (index 0). 0 or a
 * negative code. */
int beam_image_write_header(const struct beam_segment_source *source,
			    const struct beam_image_header *header);

/* Writes a chunk of module AUX data records that follow the keys. Call it after all writers have
 * flushed. 0 or a negative code. */
int beam_image_write_module_aux(const struct beam_segment_source *source, const void *bytes,
				size_t len_bytes);

struct beam_image_totals {
	uint64_t nitems, nexpired; /* in */
	uint32_t nsegments;        /* out: of the file, including the last one */
	uint64_t image_bytes;      /* out */
	uint64_t file_crc;         /* out */
};

/* Claims and seals the last segment (manifest, FF, CRC64), after all writers have flushed.
 * `before_seal` (may be NULL) is called with the total number of segments just before the seal. 0,
 * BEAM_E_FULL if the manifest does not fit in a segment, -ENOMEM, or the source's code. */
int beam_image_write_last(const struct beam_segment_source *source,
			  struct beam_image_totals *totals,
			  void (*before_seal)(void *arg, uint32_t nsegments), void *arg);

#endif
