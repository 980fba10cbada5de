/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads each segment's chunk footer to find where its items end.
 */
#include "trim.h"

#include <stdbool.h>
#include <string.h>

#include "image_reader.h"
#include "rdb.h"
#include "segments.h"

#define SUM_BYTES 8u
/* The record of filler that is sent behind few items. */
#define FILLER_BYTES (BEAM_AUX_FIXED_BYTES + BEAM_HELD_BYTES)

void beam_trim_init(struct beam_trim *trim, const struct beam_gen *gen, uint32_t segment_bytes)
{
	*trim = (struct beam_trim){.gen = *gen};
	beam_crc64_shift_init(&trim->by_segment, segment_bytes);
}

/* Returns the bytes of the segment's items; all its bytes if it is not worth trimming. */
static uint32_t items_of(const struct beam_trim *trim, const uint8_t *base, uint32_t len_bytes,
			 uint32_t index)
{
	struct beam_chunk_footer footer;
	struct beam_chunk chunk;

	/* Of a chunk of several segments, less than one segment is filler, and its items may end in
	 * any of them; so such segments are sent in full. */
	if (len_bytes < BEAM_CHUNK_TAIL_BYTES ||
	    beam_chunk_footer_of(&trim->gen, base + len_bytes, &footer) || footer.nsegments != 1 ||
	    footer.first_index != index || beam_chunk_open(base, len_bytes, false, &chunk))
		return len_bytes;
	return len_bytes - footer.body_bytes < len_bytes / 16 ? len_bytes
							      : (uint32_t)footer.body_bytes;
}

static uint32_t with_filler(uint32_t items, uint32_t len_bytes)
{
	return items < BEAM_HELD_BYTES && items + FILLER_BYTES < len_bytes ? items + FILLER_BYTES
									   : items;
}

/* Makes the record of filler at `at` as long as what is sent of it. */
static void shorten_filler(uint8_t *at)
{
	const uint8_t head[BEAM_AUX_FIXED_BYTES] = {
	    BEAM_RDB_OP_AUX, 0, 0x80, 0, 0, BEAM_HELD_BYTES >> 8, BEAM_HELD_BYTES & 0xff};

	memcpy(at, head, sizeof(head));
}

uint32_t beam_trim_bytes(const struct beam_trim *trim, const uint8_t *base, uint32_t len_bytes,
			 uint32_t index)
{
	return with_filler(items_of(trim, base, len_bytes, index), len_bytes);
}

uint32_t beam_trim_next(struct beam_trim *trim, uint8_t *base, uint32_t len_bytes, uint32_t index,
			uint64_t crc)
{
	uint32_t items = items_of(trim, base, len_bytes, index);
	uint32_t sent = with_filler(items, len_bytes);

	if (beam_is_last(&trim->gen, base, len_bytes)) {
		uint8_t *sum = base + len_bytes - SUM_BYTES;

		/* A wrong checksum is left wrong, so that the server refuses the file. */
		if (beam_crc64(trim->image_crc, base, len_bytes - SUM_BYTES) == beam_get_le64(sum))
			beam_put_le64(sum, beam_crc64(trim->sent_crc, base, len_bytes - SUM_BYTES));
		return len_bytes;
	}
	trim->image_crc = beam_crc64_append(trim->image_crc, crc, &trim->by_segment);
	if (sent > items)
		shorten_filler(base + items);
	trim->sent_crc = sent < len_bytes
			     ? beam_crc64(trim->sent_crc, base, sent)
			     : beam_crc64_append(trim->sent_crc, crc, &trim->by_segment);
	return sent;
}
