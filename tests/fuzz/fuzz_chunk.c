/* SPDX-License-Identifier: BSD-3-Clause
 * The input is the bytes of a chunk. What is read from it must lie inside it. */
#include "fuzz.h"

#include <string.h>

#include "crc64.h"
#include "image_reader.h"

/* Reads all bytes of a range, so that a sanitizer checks them. */
static void touch(const uint8_t *at, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i++)
		(void)*(const volatile uint8_t *)(at + i);
}

static void walk(const struct beam_chunk *chunk)
{
	struct beam_chunk_cursor cursor = {0};
	struct beam_item item;
	uint32_t n = 0;

	while (beam_chunk_next(chunk, &cursor, &item) == 1) {
		size_t pos = 0;

		n++;
		if (item.key)
			touch(item.key, item.key_bytes);
		else
			FUZZ_CHECK(strlen(item.key_text) == item.key_bytes);
		touch(item.value, item.value_bytes);
		if (beam_rdb_skip_value(item.value, item.value_bytes, &pos, item.type) == 0)
			FUZZ_CHECK(pos <= item.value_bytes);
		else
			FUZZ_CHECK(pos == 0);
		FUZZ_CHECK(cursor.body_pos <= chunk->footer.body_bytes);
	}
	FUZZ_CHECK(n <= chunk->footer.nitems && n == cursor.next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beam_chunk chunk;
	int with_crc = beam_chunk_open(data, size, true, &chunk);

	if (with_crc == 0)
		walk(&chunk);
	if (beam_chunk_open(data, size, false, &chunk) == 0)
		walk(&chunk);
	else
		FUZZ_CHECK(with_crc != 0);
	return 0;
}

#ifdef RDBEAM_FUZZERS
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	if (size < BEAM_CHUNK_TAIL_BYTES || seed % 8 == 0)
		return size;
	uint8_t *footer = data + size - BEAM_CHUNK_FOOTER_BYTES;
	uint64_t body_bytes = beam_get_le64(footer + 40);

	memcpy(footer, BEAM_CHUNK_MAGIC, 8);
	beam_put_le32(footer + 28, 1);
	if (body_bytes <= size - BEAM_CHUNK_TAIL_BYTES) {
		uint32_t value = (uint32_t)(size - body_bytes - BEAM_AUX_FIXED_BYTES);
		uint8_t head[BEAM_AUX_FIXED_BYTES] = {0xfa,
						      0,
						      0x80,
						      (uint8_t)(value >> 24),
						      (uint8_t)(value >> 16),
						      (uint8_t)(value >> 8),
						      (uint8_t)value};

		memcpy(data + body_bytes, head, sizeof(head));
	}
	beam_put_le64(data + size - 8, beam_crc64(0, data, size - 8));
	return size;
}
#endif
