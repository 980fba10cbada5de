/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Avoids reading filler. In the first segments of an image much may be filler: nearly always in the
 * header's segment, and in all of them in a small image. So the end of such a segment is read
 * first; it tells where the filler is. Those bytes are zeroed locally, and left out when the
 * checksum is computed. The end may be wrong or forged: the segment's CRC covers all of its bytes,
 * filler included, and a segment with a wrong CRC is read again in full.
 */
#include <string.h>

#include "fetch_state.h"
#include "image_reader.h"

/* First segments of an image that are looked at. Looking at more would cost a large image more than
 * the filler that it saves. */
#define LOOK_SEGMENTS 4
#define END_BYTES     4096u

void beam_fetch_look(struct beam_fetch *fetch, uint32_t index)
{
	struct segment *segment = &fetch->segments[index];

	segment->look = LOOK_NOT;
	segment->filler = segment->filler_end = 0;
	if (index >= LOOK_SEGMENTS || segment->len_bytes < fetch->segment_bytes ||
	    segment->rereads || fetch->piece_bytes < END_BYTES)
		return;
	segment->look = LOOKING;
	fetch->posted_bytes = segment->len_bytes - END_BYTES;
}

void beam_fetch_looked(struct beam_fetch *fetch, uint32_t index)
{
	struct segment *segment = &fetch->segments[index];
	uint32_t end = segment->len_bytes - END_BYTES;
	uint32_t from, to;

	segment->look = LOOKED;
	segment->filler = segment->filler_end = end;
	if (beam_chunk_padding(&fetch->trust->gen, segment->buf + segment->len_bytes,
			       segment->len_bytes, &from, &to)) {
		to = to < end ? to : end;
		if (from < to) {
			/* New memory is not touched: that would cost more than anything else that
			 * is done with a small image. */
			if (!segment->blank)
				memset(segment->buf + from, 0, to - from);
			segment->filler = from;
			segment->filler_end = to;
		}
	}
	segment->state = SEALED;
}

uint32_t beam_fetch_find_looked(const struct beam_fetch *fetch)
{
	for (uint32_t i = 0; i < LOOK_SEGMENTS && i < fetch->nknown; i++)
		if (fetch->segments[i].state == SEALED && fetch->segments[i].buf)
			return i;
	return BEAM_FETCH_NONE;
}

uint32_t beam_fetch_piece(struct beam_fetch *fetch)
{
	const struct segment *segment = &fetch->segments[fetch->posting];
	uint32_t end = segment->len_bytes;

	if (segment->look == LOOKED) {
		if (fetch->posted_bytes == segment->filler)
			fetch->posted_bytes = segment->filler_end;
		end = fetch->posted_bytes < segment->filler ? segment->filler : end - END_BYTES;
	}
	uint32_t left = end - fetch->posted_bytes;

	return left < fetch->piece_bytes ? left : fetch->piece_bytes;
}
