/* SPDX-License-Identifier: BSD-3-Clause */
#include "partition.h"

#include <string.h>

#include "rdbeam/error.h"

#define PARTS_PER_WORKER 8
#define KEYS_PER_BUCKET  16 /* a table has at least keys/16 buckets; allows for delayed resizing */

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

/* Position of a cursor in scan order; comparable within one method. */
static uint64_t scan_order(enum beam_partition method, uint64_t cursor)
{
	if (method == BEAM_PARTITION_BITS)
		return reverse_bits(cursor);
	return (cursor & (BEAM_CLUSTER_SLOTS - 1)) << 48 | reverse_bits(cursor >> 14) >> 16;
}

static void nothing(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleKey *key, void *arg)
{
	(void)ctx;
	(void)name;
	(void)key;
	(void)arg;
}

/* How far one step of the scan advances, in scan order; 0: a single step covers everything. In
 * mid-rehash there are two tables, and a step covers one bucket of the smaller table and all
 * buckets of the larger one that it splits into. The smaller table may have few buckets: after most
 * keys were deleted, keys added since are in it. */
static uint64_t scan_step(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor)
{
	uint64_t step = 0;

	RedisModule_ScanCursorRestart(cursor);
	if (RedisModule_Scan(ctx, cursor, nothing, NULL))
		step = reverse_bits(cursor_get(cursor));
	RedisModule_ScanCursorRestart(cursor);
	return step;
}

/* Bounds of a part in scan order; *end of 0: up to the end of the scan. False: the part is empty,
 * because it would begin inside a step, and a step returns all its keys wherever the cursor enters
 * it. */
static bool part_bounds(enum beam_partition method, uint64_t least, uint32_t part, uint32_t parts,
			uint64_t *first, uint64_t *end)
{
	unsigned k = (unsigned)__builtin_ctz(parts);
	bool bits = method == BEAM_PARTITION_BITS;
	uint64_t step = bits ? 1ull << (64 - k) : (uint64_t)(BEAM_CLUSTER_SLOTS / parts) << 48;

	*first = part * step;
	*end = part + 1 < parts ? *first + step : 0;
	if (!bits || (least && least <= step))
		return true;
	*end = *first + least;
	return (*first & (least - 1)) == 0;
}

int beam_partition_scan(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor,
			enum beam_partition method, uint32_t part, uint32_t parts,
			RedisModuleScanCB each, void *arg, const volatile int *stop)
{
	uint64_t first = 0, end = 0, least = 0;

	RedisModule_ScanCursorRestart(cursor);
	if (parts > 1) {
		if (cursor_get(cursor) != 0)
			return BEAM_E_UNSUPPORTED;
		if (method == BEAM_PARTITION_BITS)
			least = scan_step(ctx, cursor);
		if (!part_bounds(method, least, part, parts, &first, &end))
			return 0;
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
