/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Disjoint parts of a database's scan. A hash table's scan counts its cursor up with the bits
 * reversed, so the 2^k values of the top k reversed bits cut the table (and, in mid-rehash, both
 * tables) into parts that share no bucket, as long as 2^k is not more than the smaller table's
 * size. With one dictionary for each cluster slot (Redis 7.4+, Valkey 8+ in cluster mode) the parts
 * are slot ranges.
 *
 * The cursor is the first 8 bytes of the server's scan cursor object: that is private, so each step
 * is checked (it must move forward in scan order), and the caller compares the keys it got with
 * DBSIZE.
 */
#ifndef BEAM_PARTITION_H
#define BEAM_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

#define BEAM_CLUSTER_SLOTS 16384u

enum beam_partition {
	BEAM_PARTITION_WHOLE, /* one part: the public API only */
	BEAM_PARTITION_BITS,
	BEAM_PARTITION_SLOTS,
};

/* Parts for a database of `keys` keys and `nworkers` workers: a power of two; 1 for WHOLE and where
 * there are too few keys for their tables to be surely large enough. */
uint32_t beam_partition_parts(enum beam_partition method, uint64_t keys, uint32_t nworkers);

/* Walks part `part` of `parts` of the selected database: `each` is called once for each of its
 * keys. `stop` is looked at after each bucket. 0; BEAM_E_UNSUPPORTED when the cursor does not
 * behave as told above; BEAM_E_ABORTED when *stop was set. */
int beam_partition_scan(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor,
			enum beam_partition method, uint32_t part, uint32_t parts,
			RedisModuleScanCB each, void *arg, const volatile int *stop);

#endif
