/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A client at a fixed rate, to show the effect of a save on other clients. It sends when the next
 * request is due, whether or not the previous one was answered, and measures latency from the time
 * at which the request was due. So a stall of 50 ms shows in all requests that were due meanwhile.
 * It runs on a thread of its own; the functions must be called from one other thread.
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
	int64_t writes; /* percent of the requests */
	const struct beam_bench_data *data;
	int64_t scale;
};

struct beam_load;

/* Connects and starts. Returns 0, or a negative code with the line in `error`
 * (BEAM_REDIS_ERROR_BYTES). */
int beam_load_start(const struct beam_load_opts *opts, char *error, struct beam_load **out);

/* Marks the end of a save: requests due from now on belong to the time after it
 * (beam_load_stop). */
void beam_load_mark(struct beam_load *load);

/* Stops when everything sent was answered, and adds the latencies to `all`, and those of requests
 * due before the mark to `marked` (NULL: not wanted). Returns as beam_load_start; the load is freed
 * in either case. NULL is accepted. */
int beam_load_stop(struct beam_load **load, struct beam_latencies *marked,
		   struct beam_latencies *all, char *error);

/* The latency that `fraction` of all do not exceed, in microseconds; 0 for none. Sorts them. */
double beam_latencies_at(struct beam_latencies *latencies, double fraction);
void beam_latencies_free(struct beam_latencies *latencies);

#endif
