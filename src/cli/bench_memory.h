/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Free memory in the same state before each measurement.
 */
#ifndef BEAM_BENCH_MEMORY_H
#define BEAM_BENCH_MEMORY_H

#include "redis.h"

/* Takes free memory in small pages, `times` as much as the server uses, writes to each of them and
 * frees it, so that whatever takes memory next does not wait for the host of a virtual machine:
 * hosts take back within seconds what a guest has free. At most half of what is free; ends early at
 * a signal. */
void beam_bench_warm_memory(struct beam_redis *redis, int times);

#endif
