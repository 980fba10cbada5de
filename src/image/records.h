/* SPDX-License-Identifier: BSD-3-Clause
 *
 * All keys of a file in memory, one after the other: of an image by its chunks' indices, so that
 * values of unknown types do no harm; of a plain RDB file by walking it. Input is hostile, see
 * image_reader.h. One thread at a time.
 */
#ifndef BEAM_RECORDS_H
#define BEAM_RECORDS_H

#include "image_reader.h"
#include "rdb_walk.h"

/* Fields are private to records.c but for `manifest`, which may be read when is_image. */
struct beam_records {
	const uint8_t *base;
	size_t len_bytes;
	bool is_image;
	struct beam_manifest manifest;
	struct beam_chunk chunk;
	struct beam_chunk_cursor cursor;
	uint32_t next_segment; /* of the chunk after this one */
	struct beam_rdb_record record;
	struct beam_rdb_buffer key;
	size_t pos;
	int ended; /* 1: the end was reached; negative: why not */
};

/* Takes base[0..len_bytes), which must stay as it is until close. 0, BEAM_E_FORMAT when it does not
 * begin as an RDB file, BEAM_E_CRC when an image's manifest is damaged. */
int beam_records_open(const uint8_t *base, size_t len_bytes, struct beam_records *out);
/* Frees what the walk holds. Idempotent; a zeroed struct is fine. */
void beam_records_close(struct beam_records *records);

/* Back to the first key. */
void beam_records_rewind(struct beam_records *records);

/* The next key; what *item points to is valid until the next call. 1; 0 at the end; or
 * BEAM_E_CRC (a damaged chunk), BEAM_E_FORMAT, BEAM_E_TORN, BEAM_E_UNSUPPORTED (a type of a newer
 * server in a plain file), -ENOMEM: the walk is over then, and each further call says the same. */
int beam_records_next(struct beam_records *records, struct beam_item *item);

#endif
