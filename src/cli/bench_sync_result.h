/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The measurements of rdbeam bench sync, their medians, and how they are shown. Single-threaded.
 */
#ifndef BEAM_BENCH_SYNC_RESULT_H
#define BEAM_BENCH_SYNC_RESULT_H

#include "bench_sync.h"

#define BEAM_SYNC_RUNS_MAX   100
#define BEAM_SYNC_TABLES_MAX (BEAM_SYNC_REPLICAS_MAX + 1)

struct beam_sync_series {
	struct beam_sync_sample samples[BEAM_SYNC_RUNS_MAX];
	size_t n;
	char not_run[BEAM_SYNC_WHY_BYTES]; /* "": it was run, or (with n 0) was not requested */
};

/* All methods with one number of replicas, on one kind of disk. */
struct beam_sync_table {
	int replicas;
	bool slow_disk;
	struct beam_sync_series series[BEAM_SYNC_METHODS];
};

struct beam_sync_result {
	const struct beam_bench_data *data;
	int64_t keys;
	size_t ntables; /* the first table has the fewest replicas */
	struct beam_sync_table tables[BEAM_SYNC_TABLES_MAX];
};

struct beam_sync_report {
	int64_t runs, scale, disk_rate; /* MB/s, 0: none */
	const char *checksum;
	char server[64];
	size_t n;
	struct beam_sync_result *results[BEAM_BENCH_DATA_MAX];
};

/* Median of a member; 0 without samples. */
#define BEAM_SYNC_MEDIAN(series, member)                                                           \
	beam_sync_median(series, offsetof(struct beam_sync_sample, member))
double beam_sync_median(const struct beam_sync_series *series, size_t offset);

/* Ratios within a table. 0 where one of the two was not run. */
struct beam_sync_ratios {
	double shipped_ms;    /* stock-disk */
	double best_tuned_ms; /* fastest of the tuned stock methods */
	double rdbeam_ms;     /* fastest rdbeam method that makes a new image */
	double x_shipped, x_best_tuned;
};
struct beam_sync_ratios beam_sync_compare(const struct beam_sync_table *table);

void beam_sync_print_tables(const struct beam_sync_report *report);
void beam_sync_print_json(const struct beam_sync_report *report);
/* Draws the report as SVG. Returns 0, or a negative code with the line in `error`. */
int beam_sync_plot(const struct beam_sync_report *report, const char *path, char *error);
void beam_sync_report_free(struct beam_sync_report *report);

#endif
