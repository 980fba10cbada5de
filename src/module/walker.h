/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One walk over a share of the keyspace, in one process. It takes jobs from a counter that all
 * walks of a snapshot share. A job is one part of one database, or a run of keys that another walk
 * has deferred. Keys become records, and records are written to segments of this walk's own lane.
 * One thread.
 */
#ifndef BEAM_WALKER_H
#define BEAM_WALKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "deferred.h"
#include "lane.h"
#include "read_ways.h"
#include "redis_api.h"
#include "snapshot_facts.h"

struct beam_copy_pool;
struct beam_walker;

struct beam_walk {
	RedisModuleCtx *ctx;
	const struct beam_facts *facts;
	uint32_t nwalks; /* number of walks that share the jobs */
	bool fast_path;
	const struct beam_deferred *read; /* if not NULL: read these keys instead of databases */
	struct beam_deferred *defer;      /* if not NULL: receives keys that need a command */
	struct beam_copy_pool *pool;      /* if not NULL: copies long values */
	bool heartbeat;                   /* reports progress to the server once a second */
};

/* `lane` remains the caller's and must outlive the walker. Returns 0 and *out, or a negative
 * code. */
int beam_walker_open(const struct beam_walk *walk, struct beam_lane *lane,
		     struct beam_walker **out);
/* Frees the walker. *walker may be NULL and is cleared. */
void beam_walker_close(struct beam_walker **walker);

/* Takes jobs from *next_job until there are none left, then flushes. Returns 0 or the first
 * error. */
int beam_walker_run(struct beam_walker *walker, _Atomic uint32_t *next_job);

struct beam_walk_count {
	uint64_t keys, expired;
	struct beam_read_ways ways;
	bool fast_path_failed;
};
/* The counts so far; final after beam_walker_run(). */
struct beam_walk_count beam_walker_count(const struct beam_walker *walker);

#endif
