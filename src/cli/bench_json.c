/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The report as one JSON object. Stable names are those at the top and those of the first members
 * of each data set; the rest are details and may change.
 */
#include <stdio.h>

#include "bench_result.h"
#include "report.h"

static cJSON *object_in(cJSON *parent, const char *name)
{
	cJSON *object = cJSON_CreateObject();

	beam_json_add(parent, name, object);
	return object;
}

/* Measurements have no more than three significant decimals. */
static void put(cJSON *object, const char *name, double value)
{
	beam_json_decimal(object, name, value, 3);
}

static void put_summary(cJSON *object, const struct beam_bench_summary *s)
{
	put(object, "stock_ms", s->stock_ms);
	put(object, "tuned_ms", s->tuned_ms);
	put(object, "rdbeam_ms", s->rdbeam_ms);
	put(object, "x_stock", s->x_stock);
	put(object, "x_tuned", s->x_tuned);
	put(object, "gb_per_s", s->gb_per_s);
	put(object, "cow_window_ms", s->window_ms);
	put(object, "stock_child_ms", s->stock_child_ms);
	put(object, "flush_mb_per_s", s->flush_mb_per_s);
	put(object, "rdbeam_durable_ms", s->durable_ms);
	put(object, "tuned_disk_ms", s->tuned_disk_ms);
	put(object, "keys_per_s", s->keys_per_s);
	beam_json_u64(object, "keys", (uint64_t)s->keys);
	beam_json_u64(object, "image_bytes", (uint64_t)s->image_bytes);
}

/* All times in the order of the saves, to show their spread. */
static void put_each(cJSON *parent, const struct beam_bench_series *series)
{
	cJSON *array = cJSON_CreateArray();

	beam_json_add(parent, "each_ms", array);
	for (size_t i = 0; i < series->n; i++)
		cJSON_AddItemToArray(array, cJSON_CreateNumber(series->samples[i].ms));
}

static void put_series(cJSON *parent, const char *name, const struct beam_bench_series *series)
{
	cJSON *object;

	if (series->n == 0)
		return;
	object = object_in(parent, name);
	beam_json_u64(object, "saves", series->n);
	put(object, "ms", BEAM_MEDIAN(series, ms));
	put_each(object, series);
	put(object, "durable_ms", BEAM_MEDIAN(series, durable_ms));
	put(object, "window_ms", BEAM_MEDIAN(series, child_ms));
	put(object, "fork_ms", BEAM_MEDIAN(series, fork_ms));
	put(object, "child_cpu_s", BEAM_MEDIAN(series, cpu_s));
	put(object, "daemon_cpu_s", BEAM_MEDIAN(series, daemon_cpu_s));
	put(object, "flush_mb_per_s", BEAM_MEDIAN(series, flush_mb_per_s));
	beam_json_u64(object, "copied_on_write_bytes", (uint64_t)BEAM_MEDIAN(series, copied_bytes));
	beam_json_u64(object, "rdb_last_cow_size", (uint64_t)BEAM_MEDIAN(series, cow_bytes));
	beam_json_u64(object, "dump_bytes", (uint64_t)BEAM_MEDIAN(series, image_bytes));
}

static void put_latencies(cJSON *parent, const char *name, struct beam_latencies *latencies)
{
	cJSON *object;

	if (latencies->n == 0)
		return;
	object = object_in(parent, name);
	beam_json_u64(object, "requests", latencies->n);
	put(object, "p50", beam_latencies_at(latencies, 0.5));
	put(object, "p99", beam_latencies_at(latencies, 0.99));
	put(object, "p99_9", beam_latencies_at(latencies, 0.999));
	put(object, "max", beam_latencies_at(latencies, 1));
}

static void put_result(cJSON *parent, struct beam_bench_result *result)
{
	const struct beam_bench_summary summary = beam_bench_summarize(result);
	const char name[2] = {result->data->letter, '\0'};
	cJSON *object = object_in(parent, name);
	cJSON *alone, *loaded, *latencies, *window;

	put_summary(object, &summary);
	beam_json_u64(object, "private_dirty_bytes", (uint64_t)result->private_bytes);
	alone = object_in(object, "alone");
	loaded = object_in(object, "loaded");
	latencies = object_in(object, "latency_us");
	window = object_in(object, "latency_same_window_us");
	for (int m = 0; m < BEAM_BENCH_METHODS; m++) {
		const char *method = beam_bench_method_name((enum beam_bench_method)m);

		put_series(alone, method, &result->alone[m]);
		put_series(loaded, method, &result->loaded[m]);
		put_latencies(latencies, method, &result->latencies[m]);
		put_latencies(window, method, &result->window[m]);
	}
	put_latencies(latencies, "no_save", &result->latencies[BEAM_BENCH_QUIET]);
}

void beam_bench_print_json(struct beam_bench_report *report)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *data;

	put(object, "memcpy_gb_per_s", report->memcpy_gb_per_s);
	beam_json_i64(object, "runs", report->runs);
	data = object_in(object, "data");
	for (size_t i = 0; i < report->n; i++)
		put_result(data, report->results[i]);
	beam_json_i64(object, "scale_percent", report->scale);
	beam_json_i64(object, "requests_per_s", report->rate);
	beam_json_i64(object, "writes_percent", report->writes);
	beam_json_i64(object, "cpus", report->ncpus);
	beam_json_text(object, "server", report->server);
	beam_json_text(object, "disk", report->disk);
	beam_json_bool(object, "disk_is_memory", report->disk_is_memory);
	beam_json_print(object);
}
