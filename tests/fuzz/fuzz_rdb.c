/* SPDX-License-Identifier: BSD-3-Clause
 * The input is a whole file for beam_verify. It is too small for an image, so it is a plain RDB
 * file. */
#include "fuzz.h"

#include "crc64.h"
#include "image_reader.h"

static int count(void *arg, int code, uint64_t offset, const char *text)
{
	(void)offset;
	FUZZ_CHECK(code < 0 && text[0] != 0);
	++*(uint64_t *)arg;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beam_verify_report report;
	uint64_t told = 0, keys = 0;
	int err = beam_verify(data, size, count, &told, &report);

	FUZZ_CHECK((err == 0) == (told == 0));
	FUZZ_CHECK(told == report.problems);
	FUZZ_CHECK(err || report.crc_ok);
	for (int i = 0; i < BEAM_VERIFY_TYPES - 1; i++)
		keys += report.keys_by_type[i];
	FUZZ_CHECK(keys == report.keys);
	FUZZ_CHECK(report.expires <= keys && report.ndbs <= keys);
	return 0;
}

#ifdef RDBEAM_FUZZERS
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	if (size >= 18 && seed % 4)
		beam_put_le64(data + size - 8, beam_crc64(0, data, size - 8));
	return size;
}
#endif
