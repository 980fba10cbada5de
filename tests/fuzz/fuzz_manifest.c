/* SPDX-License-Identifier: BSD-3-Clause
 * The input is the bytes of a last segment. */
#include "fuzz.h"

#include <string.h>

#include "crc64.h"
#include "image_reader.h"

#define FIXED_BYTES (BEAM_AUX_FIXED_BYTES + BEAM_MANIFEST_FOOTER_BYTES + BEAM_LAST_TAIL_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beam_manifest manifest;
	uint64_t sum = 0;

	if (beam_manifest_open(data, size, &manifest))
		return 0;
	FUZZ_CHECK(manifest.footer.nsegments >= 2);
	FUZZ_CHECK(manifest.footer.nsegments <= BEAM_SEGMENTS_MAX);
	FUZZ_CHECK(manifest.footer.segment_bytes % BEAM_SEGMENT_ALIGN == 0);
	FUZZ_CHECK(manifest.footer.segment_bytes <= BEAM_SEGMENT_MAX);
	for (uint32_t i = 0; i + 1 < manifest.footer.nsegments; i++)
		sum += beam_get_le64(manifest.crcs + 8 * (size_t)i);
	FUZZ_CHECK(beam_get_le64(data + size - 8) == manifest.file_crc);
	return sum == 0;
}

#ifdef RDBEAM_FUZZERS
/* The file's CRC as a writer would combine it from those in the manifest. */
static uint64_t join(const uint8_t *data, size_t size, uint32_t nfull, uint32_t segment_bytes)
{
	struct beam_crc64_shift shift;
	uint64_t crc = 0;

	beam_crc64_shift_init(&shift, segment_bytes);
	for (uint32_t i = 0; i < nfull; i++)
		crc = beam_crc64_append(
		    crc, beam_get_le64(data + BEAM_AUX_FIXED_BYTES + 8 * (size_t)i), &shift);
	return beam_crc64(crc, data, size - 8);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	if (size < FIXED_BYTES + 8 || seed % 8 == 0)
		return size;
	uint32_t nfull = (uint32_t)((size - FIXED_BYTES) / 8);

	size = FIXED_BYTES + 8 * (size_t)nfull;
	uint32_t value = (uint32_t)(size - BEAM_AUX_FIXED_BYTES - BEAM_LAST_TAIL_BYTES);
	uint8_t head[BEAM_AUX_FIXED_BYTES] = {0xfa,
					      0,
					      0x80,
					      (uint8_t)(value >> 24),
					      (uint8_t)(value >> 16),
					      (uint8_t)(value >> 8),
					      (uint8_t)value};
	uint8_t *footer = data + size - BEAM_LAST_TAIL_BYTES - BEAM_MANIFEST_FOOTER_BYTES;

	memcpy(data, head, sizeof(head));
	if (seed % 8 != 1)
		beam_put_le32(footer + 16, nfull + 1);
	if (seed % 8 != 2)
		beam_put_le32(footer + 20, (1 + seed / 8 % 32) * BEAM_SEGMENT_ALIGN);
	memcpy(footer + 40, BEAM_MANIFEST_MAGIC, 8);
	data[size - BEAM_LAST_TAIL_BYTES] = 0xff;
	beam_put_le64(data + size - 8, join(data, size, nfull, beam_get_le32(footer + 20)));
	return size;
}
#endif
