/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An image's keys added to a server that stays independent: one RESTORE for each item, pipelined,
 * and the functions.
 */
#ifndef BEAM_COPY_H
#define BEAM_COPY_H

#include <stdint.h>

#include "fetch.h"
#include "redis.h"

struct beam_copy {
	struct beam_redis *to;
	const uint8_t *bytes; /* the whole image, verified */
	uint64_t image_bytes;
	uint32_t segment_bytes;
	uint32_t nsegments;
	bool replace;
	beam_fetch_tick_fn *tick;
	void *tick_arg;
	/* out */
	uint64_t keys;
	uint64_t done_bytes; /* of the image, for progress */
};

/* 0, or the first error with its line; then some keys may have been added. */
int beam_copy_run(struct beam_copy *copy, char *error);

#endif
