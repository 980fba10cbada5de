/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads all keys of a file in memory, one after the other: of an image by the indices of its
 * chunks, so value types need not be known; of a plain RDB file by walking it. Input is hostile,
 * see image_reader.h. One thread at a time.
 */
#ifndef BEAM_RECORDS_H
#define BEAM_RECORDS_H

#include "image_reader.h"
#include "rdb_walk.h"

/* Fields are private to records.c, except for `manifest`, which may be read if is_image. */
struct beam_records {
	const uint8_t *base;
	size_t len_bytes;
	bool is_image;
	struct beam_manifest manifest;
	struct beam_chunk chunk;
	struct beam_chunk_cursor cursor;
	uint32_t next_segment; /* where the next chunk begins */
	struct beam_rdb_record record;
	struct beam_rdb_buffer key;
	size_t pos;
	int ended; /* 1: at the end; negative: the error that ended the walk */
};

/* Opens base[0..len_bytes), which must stay unchanged until close. 0, BEAM_E_FORMAT if it does not
 * begin like an RDB file or the manifest does not fit the file, or BEAM_E_CRC if an image's
 * manifest is damaged. After an error there is nothing to close. */
int beam_records_open(const uint8_t *base, size_t len_bytes, struct beam_records *out);
/* Frees what the walk holds. Idempotent; accepts a zeroed struct. */
void beam_records_close(struct beam_records *records);

/* Goes back to the first key. */
void beam_records_rewind(struct beam_records *records);

/* Gets the next key; what *item points to is valid until the next call. 1; 0 at the end; or an
 * error, which ends the walk and is returned by all further calls: BEAM_E_CRC (a damaged chunk),
 * BEAM_E_FORMAT, BEAM_E_TORN, BEAM_E_UNSUPPORTED (a type of a newer server in a plain file),
 * -ENOMEM. */
int beam_records_next(struct beam_records *records, struct beam_item *item);

#endif
