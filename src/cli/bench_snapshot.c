/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam bench snapshot: the order of the saves. Each data set has two servers, one with checksums
 * and one without. rdbeam saves in both, so that each stock save can be compared with one by rdbeam
 * in the same process, from the same heap.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_memcpy.h"
#include "bench_result.h"
#include "bench_rig.h"
#include "rdbeam/error.h"
#include "report.h"

#define QUIET_MS 2000 /* how long the client runs without a save */

enum which { CHECKED, UNCHECKED, SERVERS };

/* The saves of one run, in order. */
static const struct step {
	enum which server;
	enum beam_bench_method method;
	bool loaded;
} steps[] = {
    {CHECKED, BEAM_BENCH_STOCK, false},    {CHECKED, BEAM_BENCH_RDBEAM, false},
    {UNCHECKED, BEAM_BENCH_TUNED, false},  {UNCHECKED, BEAM_BENCH_TUNED_DISK, false},
    {UNCHECKED, BEAM_BENCH_RDBEAM, false}, {CHECKED, BEAM_BENCH_STOCK, true},
    {CHECKED, BEAM_BENCH_RDBEAM, true},    {UNCHECKED, BEAM_BENCH_TUNED, true},
};

#define NSTEPS (sizeof(steps) / sizeof(steps[0]))

struct bench {
	struct beam_bench_rig rig;
	const struct beam_bench_opts *opts;
	struct beam_bench_report report;
	struct beam_bench_server servers[SERVERS];
	struct beam_bench_place place;
};

/* ---- servers ------------------------------------------------------------------------------ */

static int start_server(struct bench *bench, enum which which)
{
	static const char *const names[SERVERS] = {"checked", "unchecked"};
	char dir[PATH_MAX];
	struct beam_bench_server_opts opts = {.program = bench->opts->server,
					      .module = bench->rig.module,
					      .dir = dir,
					      .config =
						  bench->rig.config[0] ? bench->rig.config : NULL,
					      .checksum = which == CHECKED};
	int code = beam_bench_rig_dir(&bench->rig, dir, bench->rig.work, names[which]);

	return code ? code
		    : beam_bench_server_start(&opts, bench->rig.error, &bench->servers[which]);
}

static void stop_servers(struct bench *bench)
{
	for (int i = 0; i < SERVERS; i++) {
		beam_bench_server_stop(&bench->servers[i]);
		if (bench->servers[i].dir[0])
			beam_bench_remove(bench->servers[i].dir);
		memset(&bench->servers[i], 0, sizeof(bench->servers[i]));
	}
}

/* Without the tuned saves one server is enough, which halves the memory needed. */
static bool wanted(const struct bench *bench, enum which which)
{
	return which == CHECKED || strcmp(bench->opts->tuned, "yes") == 0;
}

static int make_servers(struct bench *bench, const struct beam_bench_data *data)
{
	int code = 0;

	for (int i = 0; i < SERVERS && !code; i++) {
		if (!wanted(bench, (enum which)i))
			continue;
		code = start_server(bench, (enum which)i);
		if (!code)
			code = beam_bench_rig_fill(&bench->rig, &bench->servers[i], data);
	}
	return code;
}

/* ---- measuring ---------------------------------------------------------------------------- */

static void show(struct bench *bench, char letter, int64_t run, uint64_t step, const char *what)
{
	char stage[24], note[48];

	snprintf(stage, sizeof(stage), "measure %c", letter);
	snprintf(note, sizeof(note), "run %lld/%lld: %s", (long long)run,
		 (long long)bench->opts->runs, what);
	beam_progress_update(&bench->rig.progress, stage, BEAM_PROGRESS_PERCENT,
			     (uint64_t)(run ? run - 1 : 0) * NSTEPS + step,
			     (uint64_t)bench->opts->runs * NSTEPS, note);
}

/* Work left over from one save must not count in the next. */
static void let_rest(struct bench *bench)
{
	for (int i = 0; i < SERVERS; i++)
		if (bench->servers[i].redis)
			beam_bench_settle_heap(&bench->rig, &bench->servers[i]);
	beam_bench_let_rest(bench->servers, SERVERS);
}

/* Saves that do not count: memory that the machine has not used before is slow at its first touch,
 * which must not be attributed to any method. rdbeam saves twice on each server, because it keeps
 * the last image until the next one is complete. In the last save the child's memory is sampled. */
static int warm_up(struct bench *bench, struct beam_bench_result *result)
{
	static const struct step warming[] = {
	    {UNCHECKED, BEAM_BENCH_TUNED, false},  {UNCHECKED, BEAM_BENCH_TUNED_DISK, false},
	    {UNCHECKED, BEAM_BENCH_RDBEAM, false}, {UNCHECKED, BEAM_BENCH_RDBEAM, false},
	    {CHECKED, BEAM_BENCH_RDBEAM, false},   {CHECKED, BEAM_BENCH_RDBEAM, false},
	};
	int code = 0;

	show(bench, result->data->letter, 0, 0, "memory is warmed");
	for (size_t i = 0; i < sizeof(warming) / sizeof(warming[0]) && !code; i++) {
		struct beam_bench_around around = {.look_inside = i + 1 == sizeof(warming) /
									       sizeof(warming[0])};
		struct beam_bench_sample sample;

		if (!wanted(bench, warming[i].server))
			continue;
		let_rest(bench);
		code = beam_bench_save(&bench->servers[warming[i].server], warming[i].method,
				       &bench->place, &around, bench->rig.error, &sample);
		if (!code && around.look_inside)
			result->private_bytes = sample.private_bytes;
	}
	return code;
}

static struct beam_load_opts load_opts(const struct bench *bench,
				       const struct beam_bench_result *result, enum which which)
{
	return (struct beam_load_opts){.port = bench->servers[which].port,
				       .rate = bench->opts->rate,
				       .writes = bench->opts->writes,
				       .data = result->data,
				       .scale = bench->opts->scale};
}

/* Runs the client without a save. */
static int measure_quiet(struct bench *bench, struct beam_bench_result *result)
{
	struct beam_load_opts opts = load_opts(bench, result, CHECKED);
	struct beam_load *load;
	int code;

	let_rest(bench);
	code = beam_load_start(&opts, bench->rig.error, &load);

	if (code)
		return code;
	beam_bench_pause_ms(QUIET_MS);
	return beam_load_stop(&load, NULL, &result->latencies[BEAM_BENCH_QUIET], bench->rig.error);
}

static int measure_step(struct bench *bench, struct beam_bench_result *result,
			const struct step *step)
{
	struct beam_load_opts opts = load_opts(bench, result, step->server);
	struct beam_bench_around around = {.load = step->loaded ? &opts : NULL,
					   .latencies = &result->latencies[step->method],
					   .window = &result->window[step->method],
					   .window_ms = result->window_ms};
	struct beam_bench_series *series = step->loaded ? result->loaded : result->alone;
	struct beam_bench_sample sample;
	int code;

	let_rest(bench);
	code = beam_bench_save(&bench->servers[step->server], step->method, &bench->place, &around,
			       bench->rig.error, &sample);
	if (!code)
		beam_bench_series_add(&series[step->method], &sample);
	if (!code && step->loaded && step->method == BEAM_BENCH_STOCK)
		result->window_ms = sample.ms;
	return code;
}

static int measure_run(struct bench *bench, struct beam_bench_result *result, int64_t run)
{
	int code = bench->opts->rate ? measure_quiet(bench, result) : 0;

	for (size_t i = 0; i < NSTEPS && !code; i++) {
		if ((steps[i].loaded && !bench->opts->rate) || !wanted(bench, steps[i].server))
			continue;
		show(bench, result->data->letter, run, i, beam_bench_method_name(steps[i].method));
		code = measure_step(bench, result, &steps[i]);
	}
	return code;
}

static int measure_data(struct bench *bench, const struct beam_bench_data *data)
{
	struct beam_bench_result *result = calloc(1, sizeof(*result));
	int code;

	if (!result)
		return beam_bench_fail(&bench->rig, -ENOMEM, "cannot keep results", "memory",
				       "free some");
	result->data = data;
	bench->report.results[bench->report.n++] = result;
	code = make_servers(bench, data);
	if (!code) {
		beam_bench_server_name(&bench->servers[CHECKED], bench->report.server);
		code = warm_up(bench, result);
	}
	for (int64_t run = 1; run <= bench->opts->runs && !code; run++)
		code = measure_run(bench, result, run);
	if (!code)
		show(bench, data->letter, bench->opts->runs, NSTEPS, "done");
	stop_servers(bench);
	return code;
}

static int measure_all(struct bench *bench, const struct beam_bench_data *const *list, size_t n)
{
	int code = beam_bench_memcpy(&bench->report.memcpy_gb_per_s, &bench->report.ncpus);

	if (code)
		return beam_bench_fail(&bench->rig, code, "cannot measure memcpy",
				       "512 MB of buffers and threads", "free memory");
	for (size_t i = 0; i < n && !code; i++)
		code = measure_data(bench, list[i]);
	return code;
}

/* ---- the command -------------------------------------------------------------------------- */

static int report(struct bench *bench)
{
	if (bench->opts->common.json)
		beam_bench_print_json(&bench->report);
	else
		beam_bench_print_tables(&bench->report);
	return bench->opts->plot
		   ? beam_bench_plot(&bench->report, bench->opts->plot, bench->rig.error)
		   : 0;
}

static int run_bench(struct bench *bench, const struct beam_bench_data *const *list, size_t n)
{
	struct beam_bench_rig *rig = &bench->rig;
	int code = beam_bench_rig_open(bench->opts, rig);

	bench->report.disk = rig->disk;
	bench->report.disk_is_memory = rig->disk_is_memory;
	if (!code)
		code = beam_bench_rig_dir(rig, bench->place.disk, rig->work, "dumps");
	if (!code)
		code =
		    beam_bench_rig_dir(rig, bench->place.memory, "/dev/shm", "rdbeam-bench-XXXXXX");
	if (!code)
		code = measure_all(bench, list, n);
	if (bench->place.memory[0])
		beam_bench_remove(bench->place.memory);
	beam_bench_rig_close(rig, code);
	return code ? code : report(bench);
}

int beam_bench_snapshot(const struct beam_bench_opts *opts)
{
	const struct beam_bench_data *list[BEAM_BENCH_DATA_MAX];
	struct bench *bench;
	size_t n;
	int code = beam_bench_choose_data(opts, list, &n);

	if (code)
		return code;
	bench = calloc(1, sizeof(*bench));
	if (!bench)
		return beam_fail(&opts->common, -ENOMEM, "out of memory: benchmark: free some");
	bench->opts = opts;
	bench->report.runs = opts->runs;
	bench->report.scale = opts->scale;
	bench->report.rate = opts->rate;
	bench->report.writes = opts->writes;
	code = beam_bench_end(&bench->rig, run_bench(bench, list, n));
	beam_bench_report_free(&bench->report);
	free(bench);
	return code;
}
