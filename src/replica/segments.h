/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where fetched segments go (sink) and where the feed takes the image from (source). The window,
 * the stage and the output file implement them. Every member is set but `place` of a sink in memory, and
 * `at_once`.
 */
#ifndef BEAM_SEGMENTS_H
#define BEAM_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

/* What is known of a verified segment. */
struct beam_segment_proof {
	uint64_t crc;
	const struct beam_wire_vouched *vouched; /* NULL unless the pull asked for it */
};

struct beam_segment_sink {
	void *ctx;
	/* Before the first room: the image's segment size. Called once. 0 or a negative code. */
	int (*begin)(void *ctx, uint32_t segment_bytes);
	/* A buffer of segment_bytes for segment `index`, the fetch's until take or back. 0;
	 * -EAGAIN: not now (wake_fd tells when to ask again); another code ends the pull. Asked in
	 * rising order of what is sealed, so that the next one in order is never kept out by later
	 * ones. */
	int (*room)(void *ctx, uint32_t index, uint8_t **buf);
	/* The segment is verified. 0 or a code that ends the pull. */
	int (*take)(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		    const struct beam_segment_proof *proof);
	/* The buffer was not used; the index will be asked for again. */
	void (*back)(void *ctx, uint32_t index, uint8_t *buf);
	/* Where all rooms are, once begun; *len_bytes 0: nowhere in particular. */
	void *(*memory)(void *ctx, uint64_t *len_bytes);
	int wake_fd; /* -1: room never fails for long */
	/* For messages: the directory or file where it keeps the image, and what helps if that is full. */
	const char *place, *when_full;
};

struct beam_image_source {
	void *ctx;
	uint64_t length_bytes; /* of all that `next` gives, 0: not known */
	/* What is sent of the next segment in order, valid until release, which comes before the next call. 1; 0 at the end; -ETIMEDOUT; or the code
	 * of the pull's failure. */
	int (*next)(void *ctx, const uint8_t **base, uint32_t *len_bytes, int timeout_ms);
	void (*release)(void *ctx);
	/* NULL: never. True: what `next` has given must go whole, whenever more comes. */
	bool (*at_once)(void *ctx);
};

/* Just before an image's first READ is asked for (`begin`), and when its last segment is verified. For
 * who measures. */
typedef void beam_reads_fn(void *arg, bool begin);

#endif
