/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Splits a database's scan into disjoint parts. The scan of a hash table increments its cursor with
 * the bits reversed. So the 2^k values of the top k reversed bits cut the table (in mid-rehash,
 * both tables) into parts that share no bucket, as long as 2^k does not exceed the size of the
 * smaller table. Servers with one dictionary per cluster slot (Redis 7.4+, Valkey 8+ in cluster
 * mode) are split by slot ranges.
 *
 * The cursor is the first 8 bytes of the server's scan cursor object. That is private, so each step
 * is checked (the cursor must advance in scan order), and the caller compares the number of keys
 * with DBSIZE.
 */
#ifndef BEAM_PARTITION_H
#define BEAM_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

#define BEAM_CLUSTER_SLOTS 16384u

enum beam_partition {
	BEAM_PARTITION_WHOLE, /* a single part; needs the public API only */
	BEAM_PARTITION_BITS,
	BEAM_PARTITION_SLOTS,
};

/* Number of parts for a database of `keys` keys and `nworkers` workers: a power of two. 1 for
 * BEAM_PARTITION_WHOLE, and if there are too few keys to be sure that the tables are large
 * enough. */
uint32_t beam_partition_parts(enum beam_partition method, uint64_t keys, uint32_t nworkers);

/* Walks part `part` of `parts` of the selected database and calls `each` once for each of its keys.
 * `stop` is checked after each step of the scan. 0; BEAM_E_UNSUPPORTED if the cursor does not
 * behave as described above; BEAM_E_ABORTED if *stop is set. */
int beam_partition_scan(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor,
			enum beam_partition method, uint32_t part, uint32_t parts,
			RedisModuleScanCB each, void *arg, const volatile int *stop);

#endif
