/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Medians and ratios of the measurements.
 */
#include "bench_sync_result.h"

#include <stdlib.h>
#include <string.h>

#include "median.h"

double beam_sync_median(const struct beam_sync_series *series, size_t offset)
{
	double values[BEAM_SYNC_RUNS_MAX];

	for (size_t i = 0; i < series->n; i++)
		memcpy(&values[i], (const char *)&series->samples[i] + offset, sizeof(values[i]));
	return beam_median(values, series->n);
}

static void keep_less(double *least, double value)
{
	if (value > 0 && (*least <= 0 || value < *least))
		*least = value;
}

struct beam_sync_ratios beam_sync_compare(const struct beam_sync_table *table)
{
	struct beam_sync_ratios r = {0};

	for (size_t m = 0; m < BEAM_SYNC_METHODS; m++) {
		const struct beam_sync_method *method = &beam_sync_methods[m];
		double ms = BEAM_SYNC_MEDIAN(&table->series[m], ready_ms);

		if (method->kind == BEAM_SYNC_STOCK && method->tuned)
			keep_less(&r.best_tuned_ms, ms);
		else if (method->kind == BEAM_SYNC_STOCK && !method->diskless)
			r.shipped_ms = ms;
		else if (method->kind == BEAM_SYNC_PULL && !method->retained)
			keep_less(&r.rdbeam_ms, ms);
	}
	if (r.rdbeam_ms > 0) {
		r.x_shipped = r.shipped_ms / r.rdbeam_ms;
		r.x_best_tuned = r.best_tuned_ms / r.rdbeam_ms;
	}
	return r;
}

void beam_sync_report_free(struct beam_sync_report *report)
{
	for (size_t i = 0; i < report->n; i++)
		free(report->results[i]);
	report->n = 0;
}
