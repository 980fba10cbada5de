/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies the keys and functions of an image into a server that is not made a replica: one pipelined
 * RESTORE for each item, and FUNCTION RESTORE.
 */
#ifndef BEAM_COPY_H
#define BEAM_COPY_H

#include <stdint.h>

#include "fetch.h"
#include "redis.h"

struct beam_copy {
	struct beam_redis *to;
	const uint8_t *bytes; /* the whole image, already verified */
	struct beam_gen gen;
	uint64_t image_bytes;
	uint32_t segment_bytes;
	uint32_t nsegments;
	bool replace;
	beam_fetch_tick_fn *tick;
	void *tick_arg;
	/* Results. */
	uint64_t keys;
	uint64_t done_bytes; /* bytes of the image copied so far, for the progress display */
};

/* Copies the whole image. Returns 0, or the first error with its line in `error`; some keys may
 * have been added by then. Calls `tick` between batches; a result of it other than 0 ends the copy
 * with that code. */
int beam_copy_run(struct beam_copy *copy, char *error);

#endif
