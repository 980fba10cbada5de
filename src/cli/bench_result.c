/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Collects samples and computes medians and the summary of a data set.
 */
#include "bench_result.h"

#include <stdlib.h>
#include <string.h>

#include "median.h"

void beam_bench_series_add(struct beam_bench_series *series, const struct beam_bench_sample *sample)
{
	if (series->n < sizeof(series->samples) / sizeof(series->samples[0]))
		series->samples[series->n++] = *sample;
}

double beam_bench_median(const struct beam_bench_series *series, size_t offset)
{
	double values[2 * BEAM_BENCH_RUNS_MAX];
	size_t n = series->n;

	for (size_t i = 0; i < n; i++)
		memcpy(&values[i], (const char *)&series->samples[i] + offset, sizeof(values[i]));
	return beam_median(values, n);
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

struct beam_bench_summary beam_bench_summarize(const struct beam_bench_result *result)
{
	const struct beam_bench_series *rdbeam = &result->alone[BEAM_BENCH_RDBEAM];
	const struct beam_bench_series *stock = &result->alone[BEAM_BENCH_STOCK];
	struct beam_bench_summary s = {
	    .keys = BEAM_MEDIAN(rdbeam, keys),
	    .image_bytes = BEAM_MEDIAN(rdbeam, image_bytes),
	    .stock_ms = BEAM_MEDIAN(stock, ms),
	    .tuned_ms = BEAM_MEDIAN(&result->alone[BEAM_BENCH_TUNED], ms),
	    .tuned_disk_ms = BEAM_MEDIAN(&result->alone[BEAM_BENCH_TUNED_DISK], ms),
	    .rdbeam_ms = BEAM_MEDIAN(rdbeam, ms),
	    .durable_ms = BEAM_MEDIAN(rdbeam, durable_ms),
	    .flush_mb_per_s = BEAM_MEDIAN(rdbeam, flush_mb_per_s),
	    .window_ms = BEAM_MEDIAN(rdbeam, child_ms),
	    .stock_child_ms = BEAM_MEDIAN(stock, child_ms),
	};

	s.x_stock = ratio(s.stock_ms, s.rdbeam_ms);
	s.x_tuned = ratio(s.tuned_ms, s.rdbeam_ms);
	s.gb_per_s =
	    ratio(BEAM_MEDIAN(&result->alone[BEAM_BENCH_TUNED], image_bytes), s.rdbeam_ms * 1e6);
	s.keys_per_s = ratio(s.keys * 1000, s.rdbeam_ms);
	return s;
}

void beam_bench_report_free(struct beam_bench_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		for (size_t m = 0; m <= BEAM_BENCH_METHODS; m++)
			beam_latencies_free(&report->results[i]->latencies[m]);
		for (size_t m = 0; m < BEAM_BENCH_METHODS; m++)
			beam_latencies_free(&report->results[i]->window[m]);
		free(report->results[i]);
	}
	report->n = 0;
}
