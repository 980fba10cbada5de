/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The processes that read the keyspace. The child forks them. They take jobs (one part of one
 * database each) from a shared list one by one, so that none is left with all the rest at the end.
 * Each has its own lane and image writer. The child supervises them: a worker's death or error
 * aborts the generation.
 */
#ifndef BEAM_WORKERS_H
#define BEAM_WORKERS_H

#include <stdint.h>

#include "copy_pool.h"
#include "lane.h"
#include "read_ways.h"
#include "redis_api.h"
#include "snapshot_facts.h"

struct beam_workers_opts {
	RedisModuleCtx *ctx;
	const struct beam_facts *facts;
	struct beam_lane **lane; /* the coordinator's; workers join it */
	/* For long values, opened early; NULL inside: not yet. The run closes it. */
	struct beam_copy_pool **pool;
	uint32_t nworkers;
	bool fast_path;
};

struct beam_workers_result {
	uint64_t keys, expired;
	struct beam_read_ways ways;
	bool fast_path_failed;
	char why[256]; /* set on failure */
};

/* Number of workers for this server: the setting, or by CPU affinity and memory in use. */
uint32_t beam_workers_count(const struct beam_facts *facts);

/* Runs all jobs to the end. Returns 0 if the keys written and expired add up to the counts of all
 * databases; otherwise the first error, after all workers have ended. */
int beam_workers_run(const struct beam_workers_opts *opts, struct beam_workers_result *result);

#endif
