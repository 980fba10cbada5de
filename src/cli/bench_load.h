/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A client at a fixed rate, to see what a save does to others: it sends when the next request is
 * due, whether or not the one before was answered, and counts each answer's latency from the time
 * that was intended. A server that stands still for 50 ms is thus seen by all who came meanwhile.
 * It runs in a thread of its own; the functions are for one other thread.
 */
#ifndef BEAM_BENCH_LOAD_H
#define BEAM_BENCH_LOAD_H

#include "bench_data.h"

struct beam_latencies {
	uint32_t *us;
	size_t n, cap;
};

struct beam_load_opts {
	int port;
	int64_t rate;   /* requests per second */
	int64_t writes; /* percent of them */
	const struct beam_bench_data *data;
	int64_t scale;
};

struct beam_load;

/* Connects and begins. 0, or a negative code with the line in `error` (BEAM_REDIS_ERROR_BYTES). */
int beam_load_start(const struct beam_load_opts *opts, char *error, struct beam_load **out);

/* What is due from now on belongs to the time behind a save (beam_load_stop). */
void beam_load_mark(struct beam_load *load);

/* Ends it when all sent is answered, and adds what was measured to `all`, and what was due before the
 * mark to `marked` (NULL: not wanted). As above; the load is gone in either case. NULL is accepted. */
int beam_load_stop(struct beam_load **load, struct beam_latencies *marked,
		   struct beam_latencies *all, char *error);

/* The value that `fraction` of all latencies does not exceed, in microseconds; 0 for none. Sorts. */
double beam_latencies_at(struct beam_latencies *latencies, double fraction);
void beam_latencies_free(struct beam_latencies *latencies);

#endif
