/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The report as tables and as a picture.
 */
#include <inttypes.h>
#include <stdio.h>

#include "bench_gnuplot.h"
#include "bench_sync_result.h"

/* ---- tables ------------------------------------------------------------------------------- */

static const char *seconds(char out[16], double ms)
{
	if (ms > 0)
		snprintf(out, 16, ms < 10000 ? "%.2f" : "%.1f", ms / 1000);
	else
		snprintf(out, 16, "-");
	return out;
}

static const char *times(char out[16], double x)
{
	if (x > 0)
		snprintf(out, 16, "%.2f", x);
	else
		snprintf(out, 16, "-");
	return out;
}

static void print_row(const struct beam_sync_table *table, size_t m)
{
	const struct beam_sync_series *series = &table->series[m];
	const struct beam_sync_ratios r = beam_sync_compare(table);
	double ms = BEAM_SYNC_MEDIAN(series, ready_ms);
	char t[6][16];

	if (series->not_run[0])
		printf("  %-26s  not run: %s\n", beam_sync_methods[m].name, series->not_run);
	if (series->n == 0)
		return;
	printf("  %-26s  %8s  %8s  %9s  %9s  %9s  %9s\n", beam_sync_methods[m].name,
	       seconds(t[0], ms), seconds(t[1], BEAM_SYNC_MEDIAN(series, first_ready_ms)),
	       seconds(t[2], BEAM_SYNC_MEDIAN(series, primary_cpu_ms)),
	       seconds(t[3], BEAM_SYNC_MEDIAN(series, replica_cpu_ms)),
	       times(t[4], r.shipped_ms / ms), times(t[5], r.best_tuned_ms / ms));
}

static void print_table(const struct beam_sync_report *report,
			const struct beam_sync_result *result, const struct beam_sync_table *table)
{
	printf("\n%c (%s), %d replica%s", result->data->letter, result->data->what, table->replicas,
	       table->replicas > 1 ? "s" : "");
	if (table->slow_disk)
		printf(", dumps on a disk of %" PRId64 " MB/s", report->disk_rate);
	printf("\n  %-26s  %8s  %8s  %9s  %9s  %9s  %9s\n", "", "ready s", "first s", "primary s",
	       "replica s", "x shipped", "x tuned");
	for (size_t m = 0; m < BEAM_SYNC_METHODS; m++)
		print_row(table, m);
}

void beam_sync_print_tables(const struct beam_sync_report *report)
{
	printf("rdbeam bench sync: %s, rdbchecksum %s, %" PRId64 " runs, data at %" PRId64 " %%\n",
	       report->server, report->checksum, report->runs, report->scale);
	fputs(
	    "ready: from the order until the link of the last replica is up at the primary's\n"
	    "offset; first: of the first one; primary, replica: CPU seconds, of the replicas the\n"
	    "mean; x shipped, x tuned: how many times as fast as stock-disk, and as the fastest\n"
	    "tuned stock method. Medians.\n",
	    stdout);
	for (size_t i = 0; i < report->n; i++) {
		for (size_t t = 0; t < report->results[i]->ntables; t++)
			print_table(report, report->results[i], &report->results[i]->tables[t]);
	}
}

/* ---- picture ------------------------------------------------------------------------------ */

static bool has_method(const struct beam_sync_report *report, size_t m)
{
	for (size_t i = 0; i < report->n; i++) {
		if (report->results[i]->tables[0].series[m].n)
			return true;
	}
	return false;
}

static void put_data(FILE *out, const struct beam_sync_report *report)
{
	fputs("$ready << EOD\n", out);
	for (size_t i = 0; i < report->n; i++) {
		const struct beam_sync_result *result = report->results[i];

		for (size_t t = 0; t < result->ntables; t++) {
			const struct beam_sync_table *table = &result->tables[t];

			fprintf(out, "\"%s\\n%d replica%s%s\"", result->data->what, table->replicas,
				table->replicas > 1 ? "s" : "",
				table->slow_disk ? "\\nslow disk" : "");
			for (size_t m = 0; m < BEAM_SYNC_METHODS; m++)
				beam_gnuplot_value(
				    out, BEAM_SYNC_MEDIAN(&table->series[m], ready_ms) / 1000);
			putc('\n', out);
		}
	}
	fputs("EOD\n", out);
}

int beam_sync_plot(const struct beam_sync_report *report, const char *path, char *error)
{
	static const char *const colours[BEAM_SYNC_METHODS] = {
	    "#bdbdbd", "#9e9e9e", "#757575", "#616161", "#9fa8da", "#7986cb", "#5c6bc0",
	    "#3949ab", "#a5d6a7", "#ef6c00", "#d84315", "#ffcc80", "#8e24aa"};
	const char *separator = "plot";
	FILE *out;
	int code = beam_gnuplot_open(path, 1200, 560, error, &out);

	if (code)
		return code;
	fputs("set style data histograms\n"
	      "set style histogram clustered gap 1\n"
	      "set style fill solid 0.9 border -1\n"
	      "set grid ytics\n"
	      "set logscale y\n"
	      "set key outside right\n"
	      "set xtics font ',11'\n"
	      "set ylabel 'seconds, logarithmic (shorter is better)'\n",
	      out);
	fputs("set title 'Time until new replicas are ready (", out);
	beam_gnuplot_made_of(out, report->server, report->runs, report->scale);
	fputs(")' noenhanced\n", out);
	put_data(out, report);
	for (size_t m = 0; m < BEAM_SYNC_METHODS; m++) {
		if (!has_method(report, m))
			continue;
		fprintf(out, "%s $ready using %zu:xtic(1) title '%s' lc rgb '%s'", separator, m + 2,
			beam_sync_methods[m].name, colours[m]);
		separator = ",";
	}
	putc('\n', out);
	return beam_gnuplot_close(out, path, error);
}
