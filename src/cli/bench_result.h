/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The measurements of rdbeam bench snapshot, and their medians. Single-threaded.
 */
#ifndef BEAM_BENCH_RESULT_H
#define BEAM_BENCH_RESULT_H

#include <stddef.h>
#include <stdint.h>

#include "bench_data.h"
#include "bench_load.h"
#include "bench_save.h"

#define BEAM_BENCH_RUNS_MAX 100
#define BEAM_BENCH_QUIET    BEAM_BENCH_METHODS /* index of latencies without a save */

/* rdbeam saves twice in each run: on the server with checksums and on the one without. */
struct beam_bench_series {
	struct beam_bench_sample samples[2 * BEAM_BENCH_RUNS_MAX];
	size_t n;
};

/* The results of one data set. */
struct beam_bench_result {
	const struct beam_bench_data *data;
	struct beam_bench_series alone[BEAM_BENCH_METHODS];
	struct beam_bench_series loaded[BEAM_BENCH_METHODS];     /* while the paced client runs */
	struct beam_latencies latencies[BEAM_BENCH_METHODS + 1]; /* until the end of each save */
	/* for as long as the stock save took */
	struct beam_latencies window[BEAM_BENCH_METHODS];
	double window_ms; /* of the latest stock save */
	/* Private memory of rdbeam's processes in a save without writes. */
	double private_bytes;
};

struct beam_bench_report {
	int64_t runs, scale, rate, writes;
	const char *disk;
	bool disk_is_memory;
	char server[64]; /* "redis 7.0.15" */
	double memcpy_gb_per_s;
	int ncpus;
	size_t n;
	struct beam_bench_result *results[BEAM_BENCH_DATA_MAX];
};

/* Adds a sample; ignored when the series is full. */
void beam_bench_series_add(struct beam_bench_series *series,
			   const struct beam_bench_sample *sample);

/* Median of a member; 0 without samples. */
#define BEAM_MEDIAN(series, member)                                                                \
	beam_bench_median(series, offsetof(struct beam_bench_sample, member))
double beam_bench_median(const struct beam_bench_series *series, size_t offset);

/* Figures that are derived from several measurements. */
struct beam_bench_summary {
	double keys, image_bytes; /* of rdbeam's image */
	double stock_ms, tuned_ms, tuned_disk_ms, rdbeam_ms, durable_ms;
	double x_stock, x_tuned; /* how many times as fast */
	double gb_per_s, keys_per_s, flush_mb_per_s;
	double window_ms, stock_child_ms;
};
/* Computes the summary from medians; 0 for what was not measured. */
struct beam_bench_summary beam_bench_summarize(const struct beam_bench_result *result);

/* Prints the tables to stdout. */
void beam_bench_print_tables(struct beam_bench_report *report);

/* Prints the JSON object to stdout. */
void beam_bench_print_json(struct beam_bench_report *report);

/* Draws the report as SVG. Returns 0, or a negative code with the line in `error`. */
int beam_bench_plot(struct beam_bench_report *report, const char *path, char *error);

void beam_bench_report_free(struct beam_bench_report *report);

#endif
