/* SPDX-License-Identifier: BSD-3-Clause */
#include "partition.h"

#include <string.h>

#include "rdbeam/error.h"

#define PARTS_PER_WORKER 8
#define KEYS_PER_BUCKET                                                                            \
	16 /* a table has at least keys/16 buckets, with a margin for delayed resizing */

uint32_t beam_partition_parts(enum beam_partition method, uint64_t keys, uint32_t nworkers)
{
	uint32_t parts = 1;

	if (method == BEAM_PARTITION_WHOLE || nworkers < 2)
		return 1;
	while (parts < nworkers * PARTS_PER_WORKER && parts < BEAM_CLUSTER_SLOTS &&
	       parts * 2ull * KEYS_PER_BUCKET <= keys)
		parts *= 2;
	return parts;
}

static uint64_t reverse_bits(uint64_t v)
{
	v = (v >> 1 & 0x5555555555555555u) | (v & 0x5555555555555555u) << 1;
	v = (v >> 2 & 0x3333333333333333u) | (v & 0x3333333333333333u) << 2;
	v = (v >> 4 & 0x0f0f0f0f0f0f0f0fu) | (v & 0x0f0f0f0f0f0f0f0fu) << 4;
	return __builtin_bswap64(v);
}

static uint64_t cursor_get(const RedisModuleScanCursor *cursor)
{
	uint64_t value;

	memcpy(&value, cursor, sizeof(value));
	return value;
}

static void cursor_set(RedisModuleScanCursor *cursor, uint64_t value)
{
	memcpy(cursor, &value, sizeof(value));
}

/* Place of a cursor in scan order, comparable within one method. */
static uint64_t scan_order(enum beam_partition method, uint64_t cursor)
{
	if (method == BEAM_PARTITION_BITS)
		return reverse_bits(cursor);
	return (cursor & (BEAM_CLUSTER_SLOTS - 1)) << 48 | reverse_bits(cursor >> 14) >> 16;
}

int beam_partition_scan(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor,
			enum beam_partition method, uint32_t part, uint32_t parts,
			RedisModuleScanCB each, void *arg, const volatile int *stop)
{
	unsigned k = (unsigned)__builtin_ctz(parts);
	uint64_t first = 0, end = 0; /* in scan order; end 0: none */

	RedisModule_ScanCursorRestart(cursor);
	if (parts > 1) {
		uint64_t step = method == BEAM_PARTITION_BITS
				    ? 1ull << (64 - k)
				    : (uint64_t)(BEAM_CLUSTER_SLOTS / parts) << 48;

		first = part * step;
		end = part + 1 < parts ? first + step : 0;
		if (cursor_get(cursor) != 0)
			return BEAM_E_UNSUPPORTED;
		cursor_set(cursor,
			   method == BEAM_PARTITION_BITS ? reverse_bits(first) : first >> 48);
	}
	for (uint64_t at = first; RedisModule_Scan(ctx, cursor, each, arg);) {
		if (*stop)
			return BEAM_E_ABORTED;
		if (parts == 1)
			continue;
		uint64_t next = scan_order(method, cursor_get(cursor));

		if (next <= at)
			return BEAM_E_UNSUPPORTED;
		if (end && next >= end)
			break;
		at = next;
	}
	return *stop ? BEAM_E_ABORTED : 0;
}
