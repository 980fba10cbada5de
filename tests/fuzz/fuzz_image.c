/* SPDX-License-Identifier: BSD-3-Clause
 * Whole images for beam_verify. An image is megabytes of zeros; the input is what is not zero, and
 * is inflated here with every CRC right:
 *	u8 chunks, then for each: u8 segments more than one, le16 body bytes, u8 items,
 *	le16 index bytes, body, index; then patches to the finished image: le32 offset, u8 xor
 * A patched image must never pass: all its bytes are under the file's CRC. */
#include "fuzz.h"

#include <string.h>

#include "image_build.h"
#include "rdbeam/error.h"

#define SEGMENT     BEAM_SEGMENT_ALIGN
#define NFULL_MAX   3
#define PATCHES_MAX 16

struct input {
	const uint8_t *at;
	size_t left;
};

/* All zeros between runs. */
static uint8_t image[(size_t)NFULL_MAX * SEGMENT + 4096];

static uint64_t take(struct input *input, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n && input->left; i++, input->at++, input->left--)
		v |= (uint64_t)*input->at << 8 * i;
	return v;
}

static const uint8_t *take_bytes(struct input *input, size_t *n)
{
	const uint8_t *at = input->at;

	if (*n > input->left)
		*n = input->left;
	input->at += *n;
	input->left -= *n;
	return at;
}

/* Returns the number of full segments. */
static uint32_t inflate(struct input *input, const struct beam_gen *gen, uint64_t *nitems)
{
	uint64_t nchunks = take(input, 1);
	uint32_t first = 0;

	for (uint64_t i = 0; i < nchunks && first < NFULL_MAX; i++) {
		struct build_chunk chunk = {.first_index = first};
		uint32_t wanted = 1 + (uint32_t)take(input, 1) % NFULL_MAX;

		chunk.nsegments = wanted < NFULL_MAX - first ? wanted : NFULL_MAX - first;
		chunk.body_bytes = (size_t)take(input, 2);
		chunk.nitems = (uint32_t)take(input, 1);
		chunk.index_bytes = (size_t)take(input, 2);
		chunk.body = take_bytes(input, &chunk.body_bytes);
		chunk.index = take_bytes(input, &chunk.index_bytes);
		build_chunk(image + (size_t)first * SEGMENT, (size_t)chunk.nsegments * SEGMENT, gen,
			    &chunk);
		first += chunk.nsegments;
		*nitems += chunk.nitems;
	}
	return first;
}

/* Applies what is left of the input. Returns whether the image has changed. */
static bool apply_patches(struct input *input, size_t image_bytes)
{
	size_t offset[PATCHES_MAX];
	uint8_t was[PATCHES_MAX];
	bool differs = false;
	int n = 0;

	for (; n < PATCHES_MAX && input->left >= 5; n++) {
		offset[n] = (size_t)take(input, 4) % image_bytes;
		was[n] = image[offset[n]];
		image[offset[n]] ^= (uint8_t)take(input, 1);
	}
	/* The first patch of a place has the original byte. */
	while (n--) {
		bool first = true;

		for (int i = 0; i < n; i++)
			first &= offset[i] != offset[n];
		differs |= first && image[offset[n]] != was[n];
	}
	return differs;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct beam_gen gen = {0x1122334455667788, 7};
	struct beam_verify_report report;
	struct input input = {data, size};
	uint64_t nitems = 0;
	uint32_t nfull = inflate(&input, &gen, &nitems);

	if (nfull == 0)
		return 0;
	size_t image_bytes = (size_t)nfull * SEGMENT + build_last_bytes(nfull);

	build_last(image, nfull, SEGMENT, &gen, nitems);
	bool patched = apply_patches(&input, image_bytes);
	int err = beam_verify(image, image_bytes, NULL, NULL, &report);

	if (patched)
		FUZZ_CHECK(err != 0);
	else
		FUZZ_CHECK(report.is_image && report.crc_ok && report.segments_bad == 0 &&
			   err != BEAM_E_CRC);
	FUZZ_CHECK((err == 0) == (report.problems == 0));
	memset(image, 0, image_bytes);
	return 0;
}
