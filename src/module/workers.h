/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The processes that walk the keyspace. The child forks them; they share a list of jobs (one part
 * of one database each), taken one by one, so that no worker is left with the tail. Each has a lane
 * and an image writer of its own. The child supervises: a worker's death or error aborts the
 * generation.
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
	/* For long values, opened ahead; the run closes it. NULL inside: none yet. */
	struct beam_copy_pool **pool;
	uint32_t nworkers;
	bool fast_path;
};

struct beam_workers_result {
	uint64_t keys, expired;
	struct beam_read_ways ways;
	bool fast_path_failed;
	char why[256]; /* on failure */
};

/* Workers for this server: the setting, or from CPUs (affinity is honoured), keys and memory. */
uint32_t beam_workers_count(const struct beam_facts *facts);

/* Runs all jobs to the end. 0 when every key was written once by the counts of all databases; else
 * the first error, after all workers are gone. */
int beam_workers_run(const struct beam_workers_opts *opts, struct beam_workers_result *result);

#endif
