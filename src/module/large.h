/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copy of a keyspace of long values, which takes memory bandwidth and little else: the coordinator
 * walks it itself and threads copy (copy_pool.h). No process is forked, which with 4 KiB pages would
 * take as long as the copy. Keys that only a command can read are left to workers. Child only.
 */
#ifndef BEAM_LARGE_H
#define BEAM_LARGE_H

#include <stdbool.h>

#include "deferred.h"
#include "workers.h"

/* Whether values are long enough, on average, for one walk to keep all processors busy. */
bool beam_large_suits(const struct beam_workers_opts *opts);

/* Opens the pool, if such a copy suits: its threads are awake by the time that there is something to copy.
 * A processor of a virtual machine may take milliseconds for that. Without memory the copy opens it. */
void beam_large_prepare(const struct beam_workers_opts *opts);

/* Copies all but what it adds to `rest`; adds its counts to *result. 0, or a negative code with
 * result->why, after all threads are gone. */
int beam_large_copy(const struct beam_workers_opts *opts, struct beam_deferred *rest,
		    struct beam_workers_result *result);

#endif
