/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The benchmarks of rdbeam bench, one function for each, and their options.
 */
#ifndef BEAM_BENCH_H
#define BEAM_BENCH_H

#include "command.h"

struct beam_bench_opts {
	struct beam_common common;
	const char *data;
	int64_t scale, runs, rate, writes;
	const char *plot, *disk, *server, *module, *config;
	const char *from;  /* for reads */
	const char *tuned; /* for snapshot: yes or no */
	/* For sync. */
	const char *replicas, *methods, *checksum;
	int64_t slow_disk; /* MB/s, 0: none */
};

/* Each runs a benchmark and prints its report. Returns rdbeam's exit code; an error's line was
 * written to stderr. */
int beam_bench_snapshot(const struct beam_bench_opts *opts);
int beam_bench_reads(const struct beam_bench_opts *opts);
int beam_bench_sync(const struct beam_bench_opts *opts);

#endif
