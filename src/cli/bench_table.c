/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The report as tables: times, the cost of a save, and a client's view.
 */
#include <inttypes.h>
#include <stdio.h>

#include "bench_result.h"

#define MB 1e6

/* Three significant digits; the caller aligns them to the right. */
static const char *short_ms(char out[16], double ms)
{
	if (ms <= 0)
		snprintf(out, 16, "-");
	else if (ms < 1000)
		snprintf(out, 16, "%.0f ms", ms);
	else
		snprintf(out, 16, "%.2f s", ms / 1000);
	return out;
}

static const char *short_us(char out[16], double us)
{
	if (us < 1000)
		snprintf(out, 16, "%.0f us", us);
	else
		snprintf(out, 16, "%.1f ms", us / 1000);
	return out;
}

static void print_times(const struct beam_bench_report *report)
{
	char t[6][16];

	fputs(
	    "\nTime of a save, from BGSAVE, the fork included (medians). stock: BGSAVE as\n"
	    "shipped; tuned: without compression and checksum, to /dev/shm; rdbeam: until its\n"
	    "image is complete, with checksums; durable: until rdbeam's dump is on disk; window:\n"
	    "how long memory was copied on write.\n\n",
	    stdout);
	printf("%-4s  %8s  %8s  %8s  %8s  %7s  %7s  %5s  %8s  %8s  %8s\n", "data", "stock", "tuned",
	       "rdbeam", "durable", "x stock", "x tuned", "GB/s", "% memcpy", "window", "stock's");
	for (size_t i = 0; i < report->n; i++) {
		const struct beam_bench_summary s = beam_bench_summarize(report->results[i]);

		printf("%-4c  %8s  %8s  %8s  %8s  %7.2f  %7.2f  %5.2f  %8.0f  %8s  %8s\n",
		       report->results[i]->data->letter, short_ms(t[0], s.stock_ms),
		       short_ms(t[1], s.tuned_ms), short_ms(t[2], s.rdbeam_ms),
		       short_ms(t[3], s.durable_ms), s.x_stock, s.x_tuned, s.gb_per_s,
		       s.gb_per_s / report->memcpy_gb_per_s * 100, short_ms(t[4], s.window_ms),
		       short_ms(t[5], s.stock_child_ms));
	}
}

static void print_cost_row(char letter, const char *method, const struct beam_bench_series *alone,
			   const struct beam_bench_series *loaded)
{
	char t[16];

	printf("%-4c  %-10s  %8.2f  %9.2f  %8.1f  %8.0f  %10.0f  %9.1f  %8s\n", letter, method,
	       BEAM_MEDIAN(alone, cpu_s), BEAM_MEDIAN(alone, daemon_cpu_s),
	       BEAM_MEDIAN(alone, fork_ms), BEAM_MEDIAN(alone, image_bytes) / MB,
	       BEAM_MEDIAN(alone, flush_mb_per_s), BEAM_MEDIAN(loaded, copied_bytes) / MB,
	       short_ms(t, BEAM_MEDIAN(loaded, ms)));
}

static void print_costs(const struct beam_bench_report *report)
{
	fputs("\nWhat a save costs (medians): CPU seconds of the child with its workers, and of\n"
	      "rdbeamd; the server's standstill in fork",
	      stdout);
	if (report->rate)
		printf("; and under %" PRId64 " requests/s, %" PRId64
		       " %% of them\nwrites: what was copied on write, and the time of the save",
		       report->rate, report->writes);
	fputs(".\n\n", stdout);
	printf("%-4s  %-10s  %8s  %9s  %8s  %8s  %10s  %9s  %8s\n", "data", "method", "child s",
	       "rdbeamd s", "fork ms", "dump MB", "flush MB/s", "copied MB", "loaded");
	for (size_t i = 0; i < report->n; i++) {
		const struct beam_bench_result *result = report->results[i];

		for (int m = 0; m < BEAM_BENCH_METHODS; m++)
			print_cost_row(result->data->letter,
				       beam_bench_method_name((enum beam_bench_method)m),
				       &result->alone[m], &result->loaded[m]);
	}
}

static void print_latency_row(char letter, const char *method, struct beam_latencies *latencies)
{
	char t[4][16];

	if (latencies->n == 0)
		return;
	printf("%-4c  %-10s  %9zu  %9s  %9s  %9s  %9s\n", letter, method, latencies->n,
	       short_us(t[0], beam_latencies_at(latencies, 0.5)),
	       short_us(t[1], beam_latencies_at(latencies, 0.99)),
	       short_us(t[2], beam_latencies_at(latencies, 0.999)),
	       short_us(t[3], beam_latencies_at(latencies, 1)));
}

static void print_latencies(struct beam_bench_report *report)
{
	if (report->rate == 0)
		return;
	printf(
	    "\nLatency of a client at %" PRId64
	    " requests/s, from the time each was due; all runs\n"
	    "together, from BGSAVE until the save has ended; and, as percentiles of a short time\n"
	    "say more of its worst moment, for as long as the stock save before it lasted (=).\n\n",
	    report->rate);
	printf("%-4s  %-10s  %9s  %9s  %9s  %9s  %9s\n", "data", "method", "requests", "p50", "p99",
	       "p99.9", "max");
	for (size_t i = 0; i < report->n; i++) {
		struct beam_bench_result *result = report->results[i];
		char letter = result->data->letter;

		print_latency_row(letter, "no save", &result->latencies[BEAM_BENCH_QUIET]);
		for (int m = 0; m < BEAM_BENCH_METHODS; m++)
			print_latency_row(letter, beam_bench_method_name((enum beam_bench_method)m),
					  &result->latencies[m]);
		for (int m = 0; m < BEAM_BENCH_METHODS; m++) {
			char name[16];

			snprintf(name, sizeof(name), "= %s",
				 beam_bench_method_name((enum beam_bench_method)m));
			print_latency_row(letter, name, &result->window[m]);
		}
	}
}

void beam_bench_print_tables(struct beam_bench_report *report)
{
	printf("rdbeam bench snapshot: %s, %d CPUs, memcpy %.1f GB/s, %" PRId64
	       " runs, data at %" PRId64 " %%\n\n",
	       report->server, report->ncpus, report->memcpy_gb_per_s, report->runs, report->scale);
	printf("%-4s  %-25s  %10s  %10s  %16s\n", "data", "", "keys", "image MB",
	       "private dirty KB");
	for (size_t i = 0; i < report->n; i++) {
		const struct beam_bench_result *result = report->results[i];
		const struct beam_bench_summary s = beam_bench_summarize(result);

		printf("%-4c  %-25s  %10.0f  %10.0f  %16.0f\n", result->data->letter,
		       result->data->what, s.keys, s.image_bytes / MB,
		       result->private_bytes / 1024);
	}
	print_times(report);
	print_costs(report);
	print_latencies(report);
	if (report->disk_is_memory)
		printf("\n%s is in memory: durable and flush are not those of a disk (--disk).\n",
		       report->disk);
}
