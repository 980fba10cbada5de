/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies a keyspace of long values. That takes memory bandwidth and little else, so the coordinator
 * walks it alone while threads copy (copy_pool.h). No process is forked: with 4 KiB pages, one fork
 * would take as long as the copy. Keys that can only be read by a command are left to workers.
 * Copies any other keyspace in the same way, but without threads. Child only.
 */
#ifndef BEAM_LARGE_H
#define BEAM_LARGE_H

#include <stdbool.h>

#include "deferred.h"
#include "workers.h"

/* True if values are long enough, on average, for one walk to keep all processors busy. */
bool beam_large_suits(const struct beam_workers_opts *opts);

/* Opens the pool early if such a copy suits, so that its threads are awake when there is something
 * to copy; a virtual machine's processor may need milliseconds to wake up. If this fails for lack
 * of memory, the copy tries again. */
void beam_large_prepare(const struct beam_workers_opts *opts);

/* Copies all keys except those it adds to `rest`, and adds its counts to *result. Returns 0, or a
 * negative code with text in result->why. All threads have ended by then. */
int beam_large_copy(const struct beam_workers_opts *opts, struct beam_deferred *rest,
		    struct beam_workers_result *result);

#endif
