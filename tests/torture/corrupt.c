/* SPDX-License-Identifier: BSD-3-Clause
 *
 * corrupt [--payload N] [--seed N] FILE...: damages images that rdbeam made and lets the code that
 * guards every load and pull look at them. Each bit of every header, footer, index and manifest is
 * flipped once; then N random bytes of payload are changed. Nothing may be accepted. Prints one line
 * of JSON: {"tried": ..., "accepted": ...}.
 *
 * Whatever reads an image reads it by segments, so the segment that holds the damage is checked in
 * the three ways in which it is met: its CRC against the manifest's (a puller), its own CRC (a chunk
 * that is opened), and the file's, joined from those of all segments (a load, rdbeam verify). The
 * undamaged image must pass them all. The joined CRC is compared with beam_verify's opinion of the
 * whole file now and then. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc64.h"
#include "image_reader.h"
#include "rdb.h"

#define WHOLE_EVERY 4096 /* trials between two checks by beam_verify */

struct image {
	const char *path;
	uint8_t *at;
	size_t bytes;
	uint32_t segment_bytes, nsegments;
	uint64_t *crcs; /* of the segments as they are, the last one included */
	uint64_t *told; /* by the manifest */
	bool *opens;    /* a chunk begins and ends there: it can be opened alone */
};

static uint64_t tried, accepted, whole_checks;
static uint64_t dice = 0x9e3779b97f4a7c15;

static uint64_t roll(uint64_t below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice % below;
}

static void die(const char *path, const char *what)
{
	fprintf(stderr, "corrupt: %s: %s\n", path, what);
	exit(2);
}

static size_t len_of(const struct image *image, uint32_t index)
{
	size_t at = (size_t)index * image->segment_bytes;

	return image->bytes - at < image->segment_bytes ? image->bytes - at : image->segment_bytes;
}

static uint8_t *segment_of(const struct image *image, uint32_t index)
{
	return image->at + (size_t)index * image->segment_bytes;
}

static void open_image(const char *path, struct image *out)
{
	struct beam_verify_report report;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		die(path, strerror(errno));
	out->path = path;
	out->bytes = (size_t)st.st_size;
	/* Private: the file itself stays as it is. */
	out->at = mmap(NULL, out->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (out->at == MAP_FAILED)
		die(path, strerror(errno));
	close(fd);
	if (beam_verify(out->at, out->bytes, NULL, NULL, &report) || !report.is_image)
		die(path, "is not a whole image of rdbeam");
	out->segment_bytes = report.segment_bytes;
	out->nsegments = (uint32_t)((out->bytes + out->segment_bytes - 1) / out->segment_bytes);
	out->crcs = calloc(out->nsegments, sizeof(*out->crcs));
	out->told = calloc(out->nsegments, sizeof(*out->told));
	out->opens = calloc(out->nsegments, sizeof(*out->opens));
	if (!out->crcs || !out->told || !out->opens)
		die(path, "out of memory");
	struct beam_manifest manifest;
	uint32_t last = out->nsegments - 1;

	if (beam_manifest_open(segment_of(out, last), len_of(out, last), &manifest))
		die(path, "has no manifest");
	for (uint32_t i = 0; i < out->nsegments; i++) {
		struct beam_chunk chunk;

		out->crcs[i] = beam_crc64(0, segment_of(out, i), len_of(out, i));
		out->told[i] = i < last ? beam_get_le64(manifest.crcs + 8 * (size_t)i) : 0;
		if (i < last && out->told[i] != out->crcs[i])
			die(path, "differs from its manifest");
		out->opens[i] =
		    i < last && !beam_chunk_open(segment_of(out, i), len_of(out, i), true, &chunk);
	}
}

/* CRC over the file with segment `changed` having `crc`; 0 when it is right. */
static uint64_t joined(const struct image *image, uint32_t changed, uint64_t crc)
{
	static struct beam_crc64_shift full, tail;
	static const struct image *of;
	uint64_t sum = 0;

	if (of != image) {
		beam_crc64_shift_init(&full, image->segment_bytes);
		beam_crc64_shift_init(&tail, len_of(image, image->nsegments - 1));
		of = image;
	}
	for (uint32_t i = 0; i < image->nsegments; i++)
		sum = beam_crc64_append(sum, i == changed ? crc : image->crcs[i],
					i + 1 < image->nsegments ? &full : &tail);
	return sum;
}

/* One damage, judged, undone. */
static void try_flip(const struct image *image, size_t at, uint8_t mask)
{
	uint32_t index = (uint32_t)(at / image->segment_bytes);
	uint8_t *segment = segment_of(image, index);
	size_t len = len_of(image, index);
	struct beam_verify_report report;
	struct beam_manifest manifest;
	struct beam_chunk chunk;
	bool last = index + 1 == image->nsegments;

	image->at[at] ^= mask;
	uint64_t crc = beam_crc64(0, segment, len);
	bool passes = joined(image, index, crc) == 0;

	if (last)
		passes |= beam_manifest_open(segment, len, &manifest) == 0;
	else
		passes |= crc == image->told[index];
	if (image->opens[index])
		passes |= beam_chunk_open(segment, len, true, &chunk) == 0;
	if (tried++ % WHOLE_EVERY == 0) {
		whole_checks++;
		passes |= beam_verify(image->at, image->bytes, NULL, NULL, &report) == 0;
	}
	image->at[at] ^= mask;
	if (!passes)
		return;
	accepted++;
	fprintf(stderr, "corrupt: %s: byte %zu ^ 0x%02x is accepted\n", image->path, at, mask);
}

static void try_range(const struct image *image, size_t from, size_t len)
{
	for (size_t at = from; at < from + len && at < image->bytes; at++)
		for (int bit = 0; bit < 8; bit++)
			try_flip(image, at, (uint8_t)(1u << bit));
}

/* RDB header with its AUX fields, every chunk's index and footer, and the last segment. */
static void try_headers(const struct image *image)
{
	try_range(image, 0, 512);
	for (uint32_t i = 0; i + 1 < image->nsegments; i++) {
		size_t end = (size_t)(i + 1) * image->segment_bytes;

		if (image->opens[i])
			try_range(image, end - BEAM_CHUNK_TAIL_BYTES, BEAM_CHUNK_TAIL_BYTES);
	}
	uint32_t last = image->nsegments - 1;

	try_range(image, (size_t)last * image->segment_bytes, len_of(image, last));
}

static void try_payload(const struct image *images, int n, uint64_t trials)
{
	for (uint64_t i = 0; i < trials; i++) {
		const struct image *image = &images[roll((uint64_t)n)];

		try_flip(image, roll(image->bytes), (uint8_t)(1 + roll(255)));
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"payload", 1, NULL, 'p'}, {"seed", 1, NULL, 's'}, {NULL, 0, NULL, 0}};
	uint64_t payload = 10000;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'p')
			payload = strtoull(optarg, NULL, 10);
		else if (option == 's')
			dice ^= strtoull(optarg, NULL, 10) * 0x2545f4914f6cdd1d;
		else
			return 2;
	}
	int n = argc - optind;

	if (n < 1) {
		fputs("usage: corrupt [--payload N] [--seed N] FILE...\n", stderr);
		return 2;
	}
	struct image *images = calloc((size_t)n, sizeof(*images));

	if (!images)
		die("images", "out of memory");
	for (int i = 0; i < n; i++) {
		open_image(argv[optind + i], &images[i]);
		try_headers(&images[i]);
	}
	uint64_t headers = tried;

	try_payload(images, n, payload);
	printf("{\"tried\": %" PRIu64 ", \"accepted\": %" PRIu64 ", \"header_bits\": %" PRIu64
	       ", \"whole_file_checks\": %" PRIu64 "}\n",
	       tried, accepted, headers, whole_checks);
	return accepted != 0;
}
