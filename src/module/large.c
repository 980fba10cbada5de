/* SPDX-License-Identifier: BSD-3-Clause
 * The walk in the coordinator. Stock saving may follow in the same process, so every setting is
 * restored afterwards, and a memory fault ends the walk instead of the process. */
#include "large.h"

#include <errno.h>
#include <stdio.h>

#include "copy_pool.h"
#include "fault.h"
#include "link.h"
#include "rdbeam/error.h"
#include "shared.h"
#include "trap.h"
#include "walker.h"

#define AVERAGE_BYTES (8u << 10) /* of memory per key */

bool beam_large_suits(const struct beam_workers_opts *opts)
{
	const struct beam_facts *facts = opts->facts;

	return opts->nworkers > 1 && facts->keys &&
	       facts->used_memory / facts->keys >= AVERAGE_BYTES;
}

/* With one worker there are no threads: the caller copies alone. */
static int open_pool(const struct beam_workers_opts *opts)
{
	if (*opts->pool || !beam_large_suits(opts))
		return 0;
	return beam_copy_pool_open(opts->nworkers - 1, beam_link_may_schedule(), opts->pool);
}

struct lone_walk {
	struct beam_walker *walker;
	_Atomic uint32_t next_job;
};

static int run(void *arg)
{
	struct lone_walk *lone = arg;

	return beam_walker_run(lone->walker, &lone->next_job);
}

static int walk_alone(const struct beam_workers_opts *opts, const struct beam_walk *walk,
		      struct beam_workers_result *result)
{
	struct lone_walk lone = {.walker = NULL};
	struct beam_traps before;
	int err = beam_walker_open(walk, *opts->lane, &lone.walker);

	if (err)
		return err;
	beam_traps_set(&before);
	err = beam_trap_run(run, &lone);
	beam_traps_restore(&before);
	/* After a fault, what the walker owns may be in any state: leak it. */
	if (err == -EFAULT) {
		atomic_store(&beam_shared->fast_path_off, 1);
		return err;
	}
	struct beam_walk_count count = beam_walker_count(lone.walker);

	result->keys += count.keys;
	result->expired += count.expired;
	beam_read_ways_add(&result->ways, &count.ways);
	result->fast_path_failed |= count.fast_path_failed;
	beam_walker_close(&lone.walker);
	return err;
}

void beam_large_prepare(const struct beam_workers_opts *opts)
{
	open_pool(opts);
}

int beam_large_copy(const struct beam_workers_opts *opts, struct beam_deferred *rest,
		    struct beam_workers_result *result)
{
	struct beam_walk walk = {
	    .ctx = opts->ctx,
	    .facts = opts->facts,
	    .nwalks = 1,
	    .fast_path = opts->fast_path,
	    .defer = rest,
	    .heartbeat = true,
	};
	char compression[8];
	int err = BEAM_FAULT("large");

	beam_config_get(opts->ctx, "rdbcompression", compression, sizeof(compression));
	if (!err)
		err = open_pool(opts);
	if (!err) {
		walk.pool = *opts->pool;
		beam_config_set(opts->ctx, "rdbcompression", "no");
		err = walk_alone(opts, &walk, result);
		beam_config_set(opts->ctx, "rdbcompression", compression);
	}
	beam_copy_pool_close(opts->pool);
	if (err)
		snprintf(result->why, sizeof(result->why), "copy by the saving child: %s",
			 err == -EFAULT ? "a memory fault: keys are read by commands from now on"
					: beam_strerror(err));
	return err;
}
