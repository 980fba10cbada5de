/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where an image writer gets its segments. The region's lanes implement it in shared memory, tests
 * with malloc. Every member is set. All but has_slot return 0 or a negative code; with a code,
 * except for unclaim's -EBUSY, the image is lost: the writer returns it and the caller aborts.
 */
#ifndef BEAM_SEGMENT_SOURCE_H
#define BEAM_SEGMENT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "rdbeam/image_format.h"

struct beam_segment_source {
	void *ctx;
	uint32_t segment_bytes;
	struct beam_gen gen;
	/* Claims `count` consecutive indices; *first is the first of them. Does not wait for
	 * slots. */
	int (*claim)(void *ctx, uint32_t count, uint32_t *first);
	/* Gives back the last `count` indices of this writer's newest claim if nobody has claimed
	 * any since. 0, or -EBUSY: they must be filled and sealed. */
	int (*unclaim)(void *ctx, uint32_t first, uint32_t count);
	/* True if slot() would not wait for memory. */
	bool (*has_slot)(void *ctx, uint32_t index);
	/* Gets the address of a claimed segment, writable until it is sealed; waits until it has a
	 * slot. */
	int (*slot)(void *ctx, uint32_t index, uint8_t **base);
	/* Publishes a segment whose bytes 0..len_bytes are final; crc is their CRC64. Issues the
	 * necessary fences. */
	int (*seal)(void *ctx, uint32_t index, uint32_t len_bytes, uint64_t crc);
	/* Waits until all segments below `count` are sealed by whoever claimed them, and stores the
	 * CRC64 of segment i in crcs[i]. Only for the coordinator, after its workers are done. */
	int (*crcs)(void *ctx, uint32_t count, uint64_t *crcs);
};

#endif
