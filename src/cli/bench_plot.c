/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Draws the report with gnuplot: times and latencies as bars.
 */
#include <stdio.h>

#include "bench_gnuplot.h"
#include "bench_result.h"

static void put_setup(FILE *out, const struct beam_bench_report *report)
{
	fprintf(out,
		"set multiplot layout 2,1\n"
		"set style data histograms\n"
		"set style histogram clustered gap 1\n"
		"set style fill solid 0.9 border -1\n"
		"set grid ytics\n"
		"set logscale y\n"
		"set key outside top center horizontal\n"
		"set xtics font ',11'\n"
		"set title 'Time until a snapshot is complete, %d CPUs (",
		report->ncpus);
	beam_gnuplot_made_of(out, report->server, report->runs, report->scale);
	fputs(")' noenhanced\n", out);
}

static void put_times(FILE *out, const struct beam_bench_report *report)
{
	fputs("$times << EOD\n", out);
	for (size_t i = 0; i < report->n; i++) {
		const struct beam_bench_result *result = report->results[i];
		const struct beam_bench_summary s = beam_bench_summarize(result);

		fprintf(out, "\"%c\\n%s\"", result->data->letter, result->data->what);
		beam_gnuplot_value(out, s.stock_ms / 1000);
		beam_gnuplot_value(out, s.tuned_ms / 1000);
		beam_gnuplot_value(out, s.rdbeam_ms / 1000);
		beam_gnuplot_value(out, s.durable_ms / 1000);
		putc('\n', out);
	}
	fputs("EOD\n"
	      "set ylabel 'seconds, logarithmic (shorter is better)'\n"
	      "plot $times using 2:xtic(1) title 'stock' lc rgb '#9e9e9e', "
	      "'' using 3 title 'tuned stock' lc rgb '#5c6bc0', "
	      "'' using 4 title 'rdbeam, in memory' lc rgb '#ef6c00', "
	      "'' using 5 title 'rdbeam, on disk' lc rgb '#ffcc80'\n",
	      out);
}

static void put_latencies(FILE *out, struct beam_bench_report *report)
{
	static const int shown[] = {BEAM_BENCH_QUIET, BEAM_BENCH_STOCK, BEAM_BENCH_TUNED,
				    BEAM_BENCH_RDBEAM};

	fputs("$latencies << EOD\n", out);
	for (size_t i = 0; i < report->n; i++) {
		struct beam_bench_result *result = report->results[i];

		fprintf(out, "\"%c\"", result->data->letter);
		for (size_t m = 0; m < sizeof(shown) / sizeof(shown[0]); m++)
			beam_gnuplot_value(
			    out, beam_latencies_at(&result->latencies[shown[m]], 0.999) / 1000);
		putc('\n', out);
	}
	fprintf(
	    out,
	    "EOD\n"
	    "set title '999 of 1000 requests are answered within (a client with %d requests/s)' "
	    "noenhanced\n"
	    "set ylabel 'milliseconds, logarithmic (shorter is better)'\n"
	    "plot $latencies using 2:xtic(1) title 'no save' lc rgb '#a5d6a7', "
	    "'' using 3 title 'stock' lc rgb '#9e9e9e', "
	    "'' using 4 title 'tuned stock' lc rgb '#5c6bc0', "
	    "'' using 5 title 'rdbeam' lc rgb '#ef6c00'\n",
	    (int)report->rate);
}

int beam_bench_plot(struct beam_bench_report *report, const char *path, char *error)
{
	FILE *out;
	int code = beam_gnuplot_open(path, 1040, 860, error, &out);

	if (code)
		return code;
	put_setup(out, report);
	put_times(out, report);
	if (report->rate)
		put_latencies(out, report);
	fputs("unset multiplot\n", out);
	return beam_gnuplot_close(out, path, error);
}
