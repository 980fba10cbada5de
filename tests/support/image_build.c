/* SPDX-License-Identifier: BSD-3-Clause */
#include "image_build.h"

#include <stdlib.h>
#include <string.h>

#include "crc64.h"

/* An assert that release builds keep, since the callers are tests. */
static void require(int condition)
{
	if (!condition)
		abort();
}

static void put_aux_head(uint8_t *at, size_t value_bytes)
{
	require(value_bytes <= UINT32_MAX);
	at[0] = 0xfa;
	at[1] = 0;
	at[2] = 0x80;
	for (int i = 0; i < 4; i++)
		at[3 + i] = (uint8_t)(value_bytes >> (24 - 8 * i));
}

void build_item(struct build_items *items, const void *bytes, size_t len_bytes)
{
	require(len_bytes <= sizeof(items->body) - items->body_bytes);
	require(items->index_bytes + 10 <= sizeof(items->index));
	memcpy(items->body + items->body_bytes, bytes, len_bytes);
	items->body_bytes += len_bytes;
	items->index_bytes += beam_put_varint(items->index + items->index_bytes, len_bytes);
	items->nitems++;
}

void build_chunk(uint8_t *base, size_t len_bytes, const struct beam_gen *gen,
		 const struct build_chunk *chunk)
{
	struct beam_chunk_footer footer = {
	    .gen = *gen,
	    .first_index = chunk->first_index,
	    .nsegments = chunk->nsegments,
	    .nitems = chunk->nitems,
	    .index_bytes = (uint32_t)chunk->index_bytes,
	    .body_bytes = chunk->body_bytes,
	};
	uint8_t *footer_at = base + len_bytes - BEAM_CHUNK_FOOTER_BYTES;

	require(chunk->body_bytes + chunk->index_bytes + BEAM_CHUNK_TAIL_BYTES <= len_bytes);
	if (chunk->body_bytes)
		memcpy(base, chunk->body, chunk->body_bytes);
	put_aux_head(base + chunk->body_bytes,
		     len_bytes - chunk->body_bytes - BEAM_AUX_FIXED_BYTES);
	if (chunk->index_bytes)
		memcpy(footer_at - chunk->index_bytes, chunk->index, chunk->index_bytes);
	beam_chunk_footer_put(footer_at, &footer);
	build_chunk_crc(base, len_bytes);
}

void build_chunk_crc(uint8_t *base, size_t len_bytes)
{
	beam_put_le64(base + len_bytes - 8, beam_crc64(0, base, len_bytes - 8));
}

size_t build_last_bytes(uint32_t nfull)
{
	return BEAM_AUX_FIXED_BYTES + (size_t)nfull * 8 + BEAM_MANIFEST_FOOTER_BYTES +
	       BEAM_LAST_TAIL_BYTES;
}

void build_last(uint8_t *image, uint32_t nfull, uint32_t segment_bytes, const struct beam_gen *gen,
		uint64_t nitems)
{
	size_t start = (size_t)nfull * segment_bytes;
	struct beam_manifest_footer footer = {
	    .nitems = nitems,
	    .nsegments = nfull + 1,
	    .segment_bytes = segment_bytes,
	    .gen = *gen,
	};
	uint8_t *at = image + start;

	put_aux_head(at, (size_t)nfull * 8 + BEAM_MANIFEST_FOOTER_BYTES);
	at += BEAM_AUX_FIXED_BYTES;
	for (uint32_t i = 0; i < nfull; i++, at += 8)
		beam_put_le64(at, beam_crc64(0, image + (size_t)i * segment_bytes, segment_bytes));
	beam_manifest_footer_put(at, &footer);
	at += BEAM_MANIFEST_FOOTER_BYTES;
	*at++ = 0xff;
	/* Computed over all bytes, not combined from parts, because it is used to test the reader,
	 * which combines parts. */
	beam_put_le64(at, beam_crc64(0, image, (size_t)(at - image)));
}
