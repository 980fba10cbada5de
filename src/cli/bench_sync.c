/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam bench sync: what is measured in which order. Each data set has one primary, which is
 * filled once. In each run all methods follow one another, with each number of replicas, so that a
 * disturbance of the machine affects all of them.
 */
#include "bench_sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench_process.h"
#include "bench_sync_result.h"
#include "rdbeam/error.h"
#include "report.h"
#include "slow_disk.h"

#define SLOW_DISK_BYTES (8ull << 30) /* as much memory as is written to it */

enum { PRIMARY_DISK, REPLICA_DISK, DISKS };

struct sync_bench {
	struct beam_bench_rig rig;
	const struct beam_bench_opts *opts;
	struct beam_sync_report report;
	bool chosen[BEAM_SYNC_METHODS];
	int counts[BEAM_SYNC_REPLICAS_MAX];
	size_t ncounts;
	struct beam_slow_disk disks[DISKS];
	char disk_dirs[DISKS][PATH_MAX];
	char no_disk[BEAM_SYNC_WHY_BYTES]; /* why there is no slow disk; "": there is one */
	struct beam_bench_server primary;
	struct beam_sync_place place;
};

/* ---- the command line --------------------------------------------------------------------- */

static int parse_counts(struct sync_bench *bench, const char *text, char *bad, size_t cap)
{
	int last = 0;

	while (text) {
		char *end;
		long count = strtol(text, &end, 10);

		if (end == text || (*end && *end != ',') || count <= last ||
		    count > BEAM_SYNC_REPLICAS_MAX) {
			snprintf(bad, cap, "%.*s", (int)strcspn(text, ","), text);
			return -EINVAL;
		}
		bench->counts[bench->ncounts++] = last = (int)count;
		text = *end ? end + 1 : NULL;
	}
	return 0;
}

/* ---- the slow disk ------------------------------------------------------------------------ */

/* If there is none, the reason is reported in place of its figures. */
static int open_disks(struct sync_bench *bench)
{
	static const char *const names[DISKS] = {"slow-primary", "slow-replica"};
	struct beam_bench_rig *rig = &bench->rig;

	for (int i = 0; i < DISKS && !bench->no_disk[0]; i++) {
		int code = beam_bench_rig_dir(rig, bench->disk_dirs[i], rig->work, names[i]);

		if (code)
			return code;
		beam_slow_disk_open(bench->disk_dirs[i], SLOW_DISK_BYTES,
				    (uint64_t)bench->opts->slow_disk * 1000000, &bench->disks[i],
				    bench->no_disk, sizeof(bench->no_disk));
	}
	return 0;
}

static void close_disks(struct sync_bench *bench)
{
	for (int i = 0; i < DISKS; i++)
		beam_slow_disk_close(&bench->disks[i]);
}

/* ---- measuring ---------------------------------------------------------------------------- */

static int start_primary(struct sync_bench *bench, const struct beam_bench_data *data)
{
	struct beam_bench_rig *rig = &bench->rig;
	char dir[PATH_MAX];
	struct beam_bench_server_opts opts = {.program = bench->opts->server,
					      .module = rig->module,
					      .dir = dir,
					      .config = rig->config[0] ? rig->config : NULL,
					      .checksum = strcmp(bench->opts->checksum, "yes") == 0,
					      .pulls = true};
	int code = beam_bench_rig_dir(rig, dir, rig->work, "primary");

	if (!code)
		code = beam_bench_server_start(&opts, rig->error, &bench->primary);
	if (!code)
		code = beam_bench_rig_fill(rig, &bench->primary, data);
	if (!code)
		beam_bench_server_name(&bench->primary, bench->report.server);
	bench->place =
	    (struct beam_sync_place){.rig = rig, .primary = &bench->primary, .data = data};
	if (!code)
		code = beam_sync_digest(rig, bench->primary.redis, bench->place.digest);
	return code;
}

static void stop_primary(struct sync_bench *bench)
{
	beam_bench_server_stop(&bench->primary);
	if (bench->primary.dir[0])
		beam_bench_remove(bench->primary.dir);
	memset(&bench->primary, 0, sizeof(bench->primary));
}

static void show(struct sync_bench *bench, const struct beam_sync_result *result, int64_t run,
		 size_t table, size_t method)
{
	char stage[24], note[64];
	size_t each = result->ntables * BEAM_SYNC_METHODS;

	snprintf(stage, sizeof(stage), "measure %c", result->data->letter);
	snprintf(note, sizeof(note), "run %lld/%lld: %.28s x%d", (long long)run,
		 (long long)bench->opts->runs, beam_sync_methods[method].name,
		 result->tables[table].replicas);
	beam_progress_update(&bench->rig.progress, stage, BEAM_PROGRESS_PERCENT,
			     (uint64_t)(run - 1) * each + table * BEAM_SYNC_METHODS + method,
			     (uint64_t)bench->opts->runs * each, note);
}

static void use_disks(struct sync_bench *bench, const struct beam_sync_table *table)
{
	bench->place.primary_disk = table->slow_disk ? bench->disks[PRIMARY_DISK].path : NULL;
	bench->place.replica_disk = table->slow_disk ? bench->disks[REPLICA_DISK].path : NULL;
}

static int measure_one(struct sync_bench *bench, struct beam_sync_table *table, size_t m)
{
	struct beam_sync_series *series = &table->series[m];
	struct beam_sync_sample sample;
	int code;

	if (!series->not_run[0] && table->slow_disk && bench->no_disk[0])
		snprintf(series->not_run, sizeof(series->not_run), "%s", bench->no_disk);
	if (series->not_run[0] ||
	    beam_sync_impossible(&beam_sync_methods[m], &bench->place, series->not_run))
		return 0;
	/* The loop does not use disks, and takes so long that one run of it is enough. */
	if (beam_sync_methods[m].kind == BEAM_SYNC_LOOP && (series->n || table->slow_disk))
		return 0;
	use_disks(bench, table);
	code = beam_sync_once(&bench->place, &beam_sync_methods[m], table->replicas,
			      series->not_run, &sample);
	if (code == -ECANCELED)
		return 0;
	if (!code)
		series->samples[series->n++] = sample;
	return code;
}

static int measure_run(struct sync_bench *bench, struct beam_sync_result *result, int64_t run)
{
	int code = 0;

	for (size_t t = 0; t < result->ntables && !code; t++) {
		for (size_t m = 0; m < BEAM_SYNC_METHODS && !code; m++) {
			if (!bench->chosen[m])
				continue;
			show(bench, result, run, t, m);
			code = measure_one(bench, &result->tables[t], m);
		}
	}
	return code;
}

/* Not counted: the machine's first touch of memory, the first backlog, the first image. */
static int warm_up(struct sync_bench *bench, const struct beam_sync_result *result)
{
	char why[BEAM_SYNC_WHY_BYTES] = "";
	int code = 0;

	bench->place.warming_up = true;
	for (size_t m = 0; m < BEAM_SYNC_METHODS && !code; m++) {
		const struct beam_sync_method *method = &beam_sync_methods[m];
		struct beam_sync_sample ignored;

		if (method->kind == BEAM_SYNC_LOOP || method->retained || !bench->chosen[m] ||
		    (method->kind == BEAM_SYNC_STOCK && !method->diskless_load) ||
		    beam_sync_impossible(method, &bench->place, why))
			continue;
		show(bench, result, 1, 0, m);
		code = beam_sync_once(&bench->place, method, bench->counts[bench->ncounts - 1], why,
				      &ignored);
	}
	bench->place.warming_up = false;
	return code;
}

static int measure_data(struct sync_bench *bench, const struct beam_bench_data *data)
{
	struct beam_sync_result *result = calloc(1, sizeof(*result));
	int code;

	if (!result)
		return beam_bench_fail(&bench->rig, -ENOMEM, "cannot keep results", "memory",
				       "free some");
	result->data = data;
	for (size_t i = 0; i < data->nparts; i++)
		result->keys += beam_bench_part_keys(&data->parts[i], bench->opts->scale);
	for (size_t i = 0; i < bench->ncounts; i++)
		result->tables[result->ntables++].replicas = bench->counts[i];
	if (bench->opts->slow_disk)
		result->tables[result->ntables++] =
		    (struct beam_sync_table){.replicas = 1, .slow_disk = true};
	bench->report.results[bench->report.n++] = result;
	code = start_primary(bench, data);
	if (!code)
		code = warm_up(bench, result);
	for (int64_t run = 1; run <= bench->opts->runs && !code; run++)
		code = measure_run(bench, result, run);
	stop_primary(bench);
	return code;
}

/* ---- the command -------------------------------------------------------------------------- */

static int report(struct sync_bench *bench)
{
	if (bench->opts->common.json)
		beam_sync_print_json(&bench->report);
	else
		beam_sync_print_tables(&bench->report);
	return bench->opts->plot
		   ? beam_sync_plot(&bench->report, bench->opts->plot, bench->rig.error)
		   : 0;
}

static int run_bench(struct sync_bench *bench, const struct beam_bench_data *const *list, size_t n)
{
	int code = beam_bench_rig_open(bench->opts, &bench->rig);

	if (!code && bench->opts->slow_disk)
		code = open_disks(bench);
	for (size_t i = 0; i < n && !code; i++)
		code = measure_data(bench, list[i]);
	close_disks(bench);
	beam_bench_rig_close(&bench->rig, code);
	return code ? code : report(bench);
}

static int check_usage(struct sync_bench *bench, const struct beam_bench_data **list, size_t *n)
{
	const struct beam_bench_opts *opts = bench->opts;
	char bad[64];
	int code = beam_bench_choose_data(opts, list, n);

	if (code)
		return code;
	if (beam_sync_methods_parse(opts->methods, bench->chosen, bad, sizeof(bad)))
		return beam_fail_usage(
		    &opts->common,
		    "--methods: %s: give some of those that --help names, separated by commas",
		    bad);
	if (parse_counts(bench, opts->replicas, bad, sizeof(bad)))
		return beam_fail_usage(
		    &opts->common,
		    "--replicas: %s: give rising numbers from 1 to %d, separated by commas", bad,
		    BEAM_SYNC_REPLICAS_MAX);
	return 0;
}

int beam_bench_sync(const struct beam_bench_opts *opts)
{
	const struct beam_bench_data *list[BEAM_BENCH_DATA_MAX];
	struct sync_bench *bench = calloc(1, sizeof(*bench));
	size_t n;
	int code;

	if (!bench)
		return beam_fail(&opts->common, -ENOMEM, "out of memory: benchmark: free some");
	bench->opts = opts;
	bench->report.runs = opts->runs;
	bench->report.scale = opts->scale;
	bench->report.disk_rate = opts->slow_disk;
	bench->report.checksum = opts->checksum;
	for (int i = 0; i < DISKS; i++)
		bench->disks[i].loop = -1;
	code = check_usage(bench, list, &n);
	if (!code)
		code = beam_bench_end(&bench->rig, run_bench(bench, list, n));
	beam_sync_report_free(&bench->report);
	free(bench);
	return code;
}
