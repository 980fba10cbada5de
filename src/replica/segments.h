/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The interfaces between fetch and feed: where fetched segments go (sink) and where the feed gets
 * the image from (source). The window, the stage and the output file implement them. All members
 * must be set, except `blank`, `place` of a sink in memory, and `at_once`.
 */
#ifndef BEAM_SEGMENTS_H
#define BEAM_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

/* What is known about a verified segment. */
struct beam_segment_proof {
	uint64_t crc;
	const struct beam_wire_vouched *vouched; /* NULL unless signatures were required */
};

struct beam_segment_sink {
	void *ctx;
	/* Tells the image's segment size; called once, before the first `room`. Returns 0 or a
	 * negative code. */
	int (*begin)(void *ctx, uint32_t segment_bytes);
	/* Provides a buffer of segment_bytes for segment `index`; the fetch owns it until take or
	 * back. Returns 0; -EAGAIN when there is none now (wake_fd tells when to ask again); any
	 * other code ends the pull. Buffers are requested in rising order among the sealed
	 * segments, so later segments never keep out the next one in order. */
	int (*room)(void *ctx, uint32_t index, uint8_t **buf);
	/* True: the buffer that `room` will provide for segment `index` holds nothing but zeros.
	 * NULL: never. */
	bool (*blank)(void *ctx, uint32_t index);
	/* Receives a verified segment. Returns 0 or a code that ends the pull. */
	int (*take)(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		    const struct beam_segment_proof *proof);
	/* Returns an unused buffer; the same index will be requested again. */
	void (*back)(void *ctx, uint32_t index, uint8_t *buf);
	/* The memory that contains all buffers, valid once begun, for memory registration;
	 * *len_bytes 0: there is no such range. */
	void *(*memory)(void *ctx, uint64_t *len_bytes);
	int wake_fd; /* -1: a failure of room never lasts long */
	/* For messages: the directory or file that holds the image, and the remedy when it is
	 * full. */
	const char *place, *when_full;
};

/* Bytes of an image that a feed holds back, to keep the target's link alive while more is not there
 * yet: one byte a second lasts for over an hour. */
#define BEAM_HELD_BYTES 4096u

struct beam_image_source {
	void *ctx;
	uint64_t length_bytes; /* of all that `next` returns; 0: not known */
	/* Gets the bytes to send of the next segment in order. They stay valid until release, which
	 * must come before the next call. Returns 1; 0 at the end; -ETIMEDOUT; or the code of the
	 * pull's failure. */
	int (*next)(void *ctx, const uint8_t **base, uint32_t *len_bytes, int timeout_ms);
	void (*release)(void *ctx);
	/* True: bytes from `next` must be sent at once and in full, without waiting for more. NULL:
	 * never. */
	bool (*at_once)(void *ctx);
};

/* Called just before the first READ of an image is posted (`begin`), and when its last segment is
 * verified (not `begin`). Used for measuring. */
typedef void beam_reads_fn(void *arg, bool begin);

#endif
