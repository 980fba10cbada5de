/* SPDX-License-Identifier: BSD-3-Clause
 * Writes the last segment: the manifest, the end mark, and the file's CRC64, combined from the CRCs
 * of all segments. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc64.h"
#include "image_reader.h"
#include "image_writer.h"
#include "rdb.h"
#include "rdbeam/error.h"

/* Writes everything but the file's CRC to `base`. Returns the length including that CRC. */
static uint32_t build_last(const struct beam_segment_source *source, uint8_t *base,
			   const uint64_t *crcs, uint32_t index,
			   const struct beam_image_totals *totals)
{
	struct beam_manifest_footer footer = {
	    .nitems = totals->nitems,
	    .nexpired = totals->nexpired,
	    .nsegments = index + 1,
	    .segment_bytes = source->segment_bytes,
	    .gen = source->gen,
	};
	uint32_t value = index * 8 + BEAM_MANIFEST_FOOTER_BYTES;
	uint8_t head[BEAM_AUX_FIXED_BYTES] = {BEAM_RDB_OP_AUX,
					      0,
					      0x80,
					      (uint8_t)(value >> 24),
					      (uint8_t)(value >> 16),
					      (uint8_t)(value >> 8),
					      (uint8_t)value};
	uint8_t *at = base;

	memcpy(at, head, sizeof(head));
	at += sizeof(head);
	for (uint32_t i = 0; i < index; i++, at += 8)
		beam_put_le64(at, crcs[i]);
	memcpy(footer.magic, BEAM_MANIFEST_MAGIC, sizeof(footer.magic));
	beam_manifest_footer_put(at, &footer);
	at += BEAM_MANIFEST_FOOTER_BYTES;
	*at++ = BEAM_RDB_OP_EOF;
	return (uint32_t)(at - base) + 8;
}

static uint64_t join_crcs(const uint64_t *crcs, uint32_t count, uint32_t segment_bytes)
{
	struct beam_crc64_shift shift;
	uint64_t crc = 0;

	beam_crc64_shift_init(&shift, segment_bytes);
	for (uint32_t i = 0; i < count; i++)
		crc = beam_crc64_append(crc, crcs[i], &shift);
	return crc;
}

int beam_image_write_last(const struct beam_segment_source *source,
			  struct beam_image_totals *totals,
			  void (*before_seal)(void *arg, uint32_t nsegments), void *arg)
{
	uint32_t index;
	uint8_t *base;
	int err = source->claim(source->ctx, 1, &index);

	if (err)
		return err;
	if ((uint64_t)index * 8 + BEAM_AUX_FIXED_BYTES + BEAM_MANIFEST_FOOTER_BYTES +
		BEAM_LAST_TAIL_BYTES >
	    source->segment_bytes)
		return BEAM_E_FULL;
	uint64_t *crcs = calloc(index ? index : 1, sizeof(*crcs));

	if (!crcs)
		return -ENOMEM;
	err = source->slot(source->ctx, index, &base);
	if (!err)
		err = source->crcs(source->ctx, index, crcs);
	if (!err) {
		uint32_t len = build_last(source, base, crcs, index, totals);
		uint64_t file_crc =
		    beam_crc64(join_crcs(crcs, index, source->segment_bytes), base, len - 8);

		beam_put_le64(base + len - 8, file_crc);
		totals->nsegments = index + 1;
		totals->image_bytes = (uint64_t)index * source->segment_bytes + len;
		totals->file_crc = file_crc;
		if (before_seal)
			before_seal(arg, index + 1);
		err = source->seal(source->ctx, index, len, beam_crc64(0, base, len));
	}
	free(crcs);
	return err;
}
