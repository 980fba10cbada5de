/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The report as one JSON object. Stable names are "runs", and for each data set "methods" with
 * "ready_ms", "primary_cpu_ms", "replica_cpu_ms", and "x_shipped", "x_best_tuned"; the rest are
 * details and may change.
 */
#include <stdio.h>
#include <unistd.h>

#include "bench_sync_result.h"
#include "report.h"

static void put(cJSON *object, const char *name, double value)
{
	beam_json_decimal(object, name, value, 3);
}

static cJSON *object_in(cJSON *parent, const char *name)
{
	cJSON *object = cJSON_CreateObject();

	beam_json_add(parent, name, object);
	return object;
}

static void put_stages(cJSON *object, const struct beam_sync_series *series)
{
	beam_json_u64(object, "image_bytes", (uint64_t)BEAM_SYNC_MEDIAN(series, image_bytes));
	put(object, "copy_ms", BEAM_SYNC_MEDIAN(series, copy_ms));
	put(object, "transfer_ms", BEAM_SYNC_MEDIAN(series, transfer_ms));
	put(object, "load_ms", BEAM_SYNC_MEDIAN(series, load_ms));
	put(object, "catchup_ms", BEAM_SYNC_MEDIAN(series, catchup_ms));
	put(object, "handover_ms", BEAM_SYNC_MEDIAN(series, handover_ms));
}

static void put_method(cJSON *methods, size_t m, const struct beam_sync_table *table)
{
	const struct beam_sync_method *method = &beam_sync_methods[m];
	const struct beam_sync_series *series = &table->series[m];
	const struct beam_sync_ratios r = beam_sync_compare(table);
	cJSON *object, *each;

	if (series->n == 0 && !series->not_run[0])
		return;
	object = object_in(methods, method->name);
	if (series->not_run[0]) {
		beam_json_text(object, "not_run", series->not_run);
		return;
	}
	double ready_ms = BEAM_SYNC_MEDIAN(series, ready_ms);

	put(object, "ready_ms", ready_ms);
	put(object, "primary_cpu_ms", BEAM_SYNC_MEDIAN(series, primary_cpu_ms));
	put(object, "replica_cpu_ms", BEAM_SYNC_MEDIAN(series, replica_cpu_ms));
	put(object, "first_ready_ms", BEAM_SYNC_MEDIAN(series, first_ready_ms));
	each = cJSON_CreateArray();
	beam_json_add(object, "each_ms", each);
	for (size_t i = 0; i < series->n; i++)
		cJSON_AddItemToArray(each, cJSON_CreateNumber(series->samples[i].ready_ms));
	if (method->kind == BEAM_SYNC_STOCK)
		return;
	put(object, "tool_cpu_ms", BEAM_SYNC_MEDIAN(series, tool_cpu_ms));
	if (method->kind != BEAM_SYNC_PULL)
		return;
	put_stages(object, series);
	put(object, "x_shipped", r.shipped_ms / ready_ms);
	put(object, "x_best_tuned", r.best_tuned_ms / ready_ms);
}

static void put_table(cJSON *object, const struct beam_sync_table *table)
{
	const struct beam_sync_ratios r = beam_sync_compare(table);
	cJSON *methods = object_in(object, "methods");

	for (size_t m = 0; m < BEAM_SYNC_METHODS; m++)
		put_method(methods, m, table);
	put(object, "x_shipped", r.x_shipped);
	put(object, "x_best_tuned", r.x_best_tuned);
}

static void put_result(cJSON *parent, const struct beam_sync_result *result)
{
	const char name[2] = {result->data->letter, '\0'};
	cJSON *object = object_in(parent, name), *replicas;

	put_table(object, &result->tables[0]);
	beam_json_i64(object, "keys", result->keys);
	replicas = object_in(object, "replicas");
	for (size_t i = 0; i < result->ntables; i++) {
		const struct beam_sync_table *table = &result->tables[i];
		char count[16];

		snprintf(count, sizeof(count), "%d", table->replicas);
		put_table(object_in(table->slow_disk ? object : replicas,
				    table->slow_disk ? "slow_disk" : count),
			  table);
	}
}

void beam_sync_print_json(const struct beam_sync_report *report)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *data;

	beam_json_i64(object, "runs", report->runs);
	data = object_in(object, "data");
	for (size_t i = 0; i < report->n; i++)
		put_result(data, report->results[i]);
	beam_json_i64(object, "scale_percent", report->scale);
	beam_json_text(object, "server", report->server);
	beam_json_text(object, "rdbchecksum", report->checksum);
	beam_json_i64(object, "slow_disk_mb_per_s", report->disk_rate);
	beam_json_i64(object, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
	beam_json_print(object);
}
