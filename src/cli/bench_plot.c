/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The report as a picture, drawn by gnuplot: times and latencies as bars.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_result.h"
#include "rdbeam/error.h"

int beam_bench_plot_check(void)
{
	const char *at = getenv("PATH");
	char path[PATH_MAX];

	while (at && *at) {
		size_t len = strcspn(at, ":");

		if (snprintf(path, sizeof(path), "%.*s/gnuplot", (int)len, at) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return 0;
		at += len + (at[len] == ':');
	}
	return -ENOENT;
}

static void put_setup(FILE *out, const struct beam_bench_report *report, const char *path)
{
	fputs("set terminal svg size 1040,860 enhanced font 'sans,13' background 'white'\n"
	      "set output '",
	      out);
	for (; *path; path++) {
		putc(*path, out);
		if (*path == '\'') /* doubled, as gnuplot quotes */
			putc('\'', out);
	}
	fputs("'\n", out);
	fprintf(out,
		"set multiplot layout 2,1\n"
		"set style data histograms\n"
		"set style histogram clustered gap 1\n"
		"set style fill solid 0.9 border -1\n"
		"set grid ytics\n"
		"set logscale y\n"
		"set key outside top center horizontal\n"
		"set xtics font ',11'\n"
		"set title 'Time of a snapshot (%s, %d CPUs, medians of %d)' noenhanced\n",
		report->server, report->ncpus, (int)report->runs);
}

/* A value of 0 has no logarithm: it is left out. */
static void put_value(FILE *out, double value)
{
	if (value > 0)
		fprintf(out, " %.6g", value);
	else
		fputs(" NaN", out);
}

static void put_times(FILE *out, const struct beam_bench_report *report)
{
	fputs("$times << EOD\n", out);
	for (size_t i = 0; i < report->n; i++) {
		const struct beam_bench_result *result = report->results[i];
		const struct beam_bench_summary s = beam_bench_summarize(result);

		fprintf(out, "\"%c\\n%s\"", result->data->letter, result->data->what);
		put_value(out, s.stock_ms / 1000);
		put_value(out, s.tuned_ms / 1000);
		put_value(out, s.rdbeam_ms / 1000);
		put_value(out, s.durable_ms / 1000);
		putc('\n', out);
	}
	fputs("EOD\n"
	      "set ylabel 'seconds'\n"
	      "plot $times using 2:xtic(1) title 'stock' lc rgb '#9e9e9e', "
	      "'' using 3 title 'tuned stock' lc rgb '#5c6bc0', "
	      "'' using 4 title 'rdbeam' lc rgb '#ef6c00', "
	      "'' using 5 title 'rdbeam on disk' lc rgb '#ffcc80'\n",
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
			put_value(out,
				  beam_latencies_at(&result->latencies[shown[m]], 0.999) / 1000);
		putc('\n', out);
	}
	fprintf(out,
		"EOD\n"
		"set title 'Client at %d requests/s: 99.9 %% are faster' noenhanced\n"
		"set ylabel 'milliseconds'\n"
		"plot $latencies using 2:xtic(1) title 'no save' lc rgb '#a5d6a7', "
		"'' using 3 title 'stock' lc rgb '#9e9e9e', "
		"'' using 4 title 'tuned stock' lc rgb '#5c6bc0', "
		"'' using 5 title 'rdbeam' lc rgb '#ef6c00'\n",
		(int)report->rate);
}

int beam_bench_plot(struct beam_bench_report *report, const char *path, char *error)
{
	FILE *out = popen("gnuplot", "we");
	int status;

	if (!out) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "cannot run: gnuplot (%s): install it",
			 beam_strerror(-errno));
		return -EIO;
	}
	put_setup(out, report, path);
	put_times(out, report);
	if (report->rate)
		put_latencies(out, report);
	fputs("unset multiplot\n", out);
	status = pclose(out);
	if (status == 0 && access(path, R_OK) == 0)
		return 0;
	snprintf(error, BEAM_REDIS_ERROR_BYTES,
		 "gnuplot failed: --plot %.300s (exit status %d): see its lines above", path,
		 status < 0 ? -1 : WEXITSTATUS(status));
	return -EIO;
}
