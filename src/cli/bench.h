/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The benchmarks of rdbeam bench, each a function that the command's table names.
 */
#ifndef BEAM_BENCH_H
#define BEAM_BENCH_H

#include "command.h"

struct beam_bench_opts {
	struct beam_common common;
	const char *data;
	int64_t scale, runs, rate, writes;
	const char *plot, *disk, *server, *module, *config;
	const char *from;  /* reads */
	const char *tuned; /* snapshot: yes or no */
	/* sync */
	const char *replicas, *methods, *checksum;
	int64_t slow_disk; /* MB/s, 0: none */
};

/* Runs the benchmark and prints its report. Returns what rdbeam exits with; the line on stderr is
 * written. */
int beam_bench_snapshot(const struct beam_bench_opts *opts);
int beam_bench_reads(const struct beam_bench_opts *opts);
int beam_bench_sync(const struct beam_bench_opts *opts);

#endif
