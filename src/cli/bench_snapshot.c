/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam bench snapshot: which save follows which. Each data set has two servers, one that makes
 * checksums and one that does not, and rdbeam saves in both, so that each stock save has rdbeam's
 * beside it in the same process, from the same heap.
 */
#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

#include "bench.h"
#include "bench_memcpy.h"
#include "bench_process.h"
#include "bench_result.h"
#include "clock.h"
#include "rdbeam/error.h"
#include "report.h"

#define QUIET_MS   2000 /* of the client without a save */
#define SETTLE_MS  120000
#define DBS        5 /* that the data sets use */
#define REST_MS    200
#define REST_CPU_S 0.025 /* in REST_MS: two ticks, what answering INFO may cost */
#define FAST_HZ    500

enum which { CHECKED, UNCHECKED, SERVERS };

/* The saves of one run, in turn. */
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
	const struct beam_bench_opts *opts;
	struct beam_progress progress;
	struct beam_bench_report report;
	struct beam_bench_server servers[SERVERS];
	char work[PATH_MAX]; /* "" before it exists */
	char module[PATH_MAX], config[PATH_MAX];
	char disk[PATH_MAX];
	struct beam_bench_place place;
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* ---- where things are --------------------------------------------------------------------- */

static int fail(struct bench *bench, int code, const char *what, const char *value,
		const char *remedy)
{
	snprintf(bench->error, sizeof(bench->error), "%s: %.300s (%s): %s", what, value,
		 beam_strerror(code), remedy);
	return code;
}

static int find_module(struct bench *bench)
{
	char self[PATH_MAX], beside[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (bench->opts->module) {
		if (realpath(bench->opts->module, bench->module))
			return 0;
		return fail(bench, -errno, "--module", bench->opts->module, "give rdbeam.so");
	}
	self[n < 0 ? 0 : n] = '\0';
	if (snprintf(beside, sizeof(beside), "%s/rdbeam.so", dirname(self)) < PATH_MAX &&
	    realpath(beside, bench->module))
		return 0;
	if (realpath(RDBEAM_MODULE_PATH, bench->module))
		return 0;
	return fail(bench, -errno, "no module", RDBEAM_MODULE_PATH, "give it by --module PATH");
}

static int make_dir(struct bench *bench, char *out, const char *parent, const char *name)
{
	if (snprintf(out, PATH_MAX, "%s/%s", parent, name) >= PATH_MAX)
		return fail(bench, -ENAMETOOLONG, "cannot make a directory in", parent,
			    "choose another by --disk");
	if (strstr(name, "XXXXXX") ? mkdtemp(out) != NULL : mkdir(out, 0700) == 0)
		return 0;
	out[0] = '\0';
	return fail(bench, -errno, "cannot make a directory in", parent, "make room or let it be");
}

static int find_places(struct bench *bench)
{
	const char *disk = bench->opts->disk;
	struct statfs fs;
	int code;

	if (!disk)
		disk = getenv("TMPDIR");
	if (!disk || !*disk)
		disk = "/tmp";
	if (!realpath(disk, bench->disk) || statfs(bench->disk, &fs) != 0)
		return fail(bench, -errno, "--disk", disk, "give a directory");
	bench->report.disk = bench->disk;
	bench->report.disk_is_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
	if (bench->opts->config && !realpath(bench->opts->config, bench->config))
		return fail(bench, -errno, "--config", bench->opts->config, "give a file");
	code = make_dir(bench, bench->work, bench->disk, "rdbeam-bench-XXXXXX");
	if (!code)
		code = make_dir(bench, bench->place.disk, bench->work, "dumps");
	if (!code)
		code = make_dir(bench, bench->place.memory, "/dev/shm", "rdbeam-bench-XXXXXX");
	return code;
}

/* The file must be one that can be written: known now, not after an hour. */
static int check_plot(struct bench *bench)
{
	const char *path = bench->opts->plot;
	FILE *out;

	if (!path)
		return 0;
	if (beam_bench_plot_check())
		return fail(bench, -ENOENT, "no gnuplot in PATH", "--plot",
			    "install gnuplot or leave --plot out");
	out = fopen(path, "ae");
	if (!out)
		return fail(bench, -errno, "--plot", path, "give a file that can be written");
	fclose(out);
	return 0;
}

/* ---- servers ------------------------------------------------------------------------------ */

static int start_server(struct bench *bench, enum which which)
{
	static const char *const names[SERVERS] = {"checked", "unchecked"};
	char dir[PATH_MAX];
	struct beam_bench_server_opts opts = {.program = bench->opts->server,
					      .module = bench->module,
					      .dir = dir,
					      .config = bench->config[0] ? bench->config : NULL,
					      .checksum = which == CHECKED};
	int code = make_dir(bench, dir, bench->work, names[which]);

	return code ? code : beam_bench_server_start(&opts, bench->error, &bench->servers[which]);
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

static void pause_ms(int ms)
{
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	nanosleep(&pause, NULL);
}

static bool is_rehashing(struct beam_redis *redis)
{
	bool found = false;

	for (int db = 0; db < DBS && !found; db++) {
		redisReply *reply;

		if (beam_redis_command(redis, &reply, "DEBUG HTSTATS %d", db) != 0)
			continue;
		found = reply->str && strstr(reply->str, "rehashing target");
		freeReplyObject(reply);
	}
	return found;
}

/* A table that has just grown is moved bit by bit for a minute: until that is over no two saves
 * read the same memory. A higher hz makes it a matter of seconds. */
static int settle(struct bench *bench, struct beam_redis *redis)
{
	uint64_t deadline = beam_now_ms() + SETTLE_MS;
	int64_t hz = 10;
	int code;

	beam_redis_info_int(redis, "server", "configured_hz", &hz);
	code = beam_redis_command(redis, NULL, "CONFIG SET hz %d", FAST_HZ);
	while (!code && is_rehashing(redis) && beam_now_ms() < deadline &&
	       !beam_bench_interrupted())
		pause_ms(100);
	if (!code)
		code = beam_redis_command(redis, NULL, "CONFIG SET hz %lld", (long long)hz);
	if (!code)
		code = beam_redis_command(redis, NULL, "MEMORY PURGE");
	if (code)
		snprintf(bench->error, sizeof(bench->error),
			 "server refused: %s (%.300s): see its log", beam_redis_name(redis),
			 beam_redis_error(redis));
	return code;
}

/* By a connection that is closed again: what it has of buffers would be given back, and so change
 * hands, while a child is looked at. */
static int fill_server(struct bench *bench, struct beam_bench_server *server,
		       const struct beam_bench_data *data)
{
	struct beam_redis *redis;
	int code = beam_bench_server_connect(server, bench->error, &redis);

	if (code)
		return code;
	code =
	    beam_bench_data_fill(data, bench->opts->scale, redis, &bench->progress, bench->error);
	beam_redis_close(&redis);
	return code ? code : settle(bench, server->redis);
}

static int make_servers(struct bench *bench, const struct beam_bench_data *data)
{
	int code = 0;

	for (int i = 0; i < SERVERS && !code; i++) {
		code = start_server(bench, (enum which)i);
		if (!code)
			code = fill_server(bench, &bench->servers[i], data);
	}
	return code;
}

static void name_server(struct bench *bench)
{
	struct beam_redis *redis = bench->servers[CHECKED].redis;
	char version[32];
	bool valkey =
	    beam_redis_info(redis, "server", "valkey_version", version, sizeof(version)) == 0;

	if (!valkey)
		beam_redis_info(redis, "server", "redis_version", version, sizeof(version));
	snprintf(bench->report.server, sizeof(bench->report.server), "%s %s",
		 valkey ? "valkey" : "redis", version);
}

static double daemons_cpu_s(const struct bench *bench)
{
	double sum = 0;

	for (int i = 0; i < SERVERS; i++) {
		struct beam_process_use use;
		int64_t pid = 0;

		beam_redis_info_int(bench->servers[i].redis, "rdbeam", "rdbeam_daemon_pid", &pid);
		if (pid > 0 && beam_process_use((pid_t)pid, &use) == 0)
			sum += use.cpu_s;
	}
	return sum;
}

/* After a save rdbeamd may still fault memory in for later ones, which would be counted as the next
 * save's, stock's too. */
static void let_daemons_rest(const struct bench *bench)
{
	uint64_t deadline = beam_now_ms() + SETTLE_MS;
	double before = daemons_cpu_s(bench), after;

	while (beam_now_ms() < deadline && !beam_bench_interrupted()) {
		pause_ms(REST_MS);
		after = daemons_cpu_s(bench);
		if (after - before < REST_CPU_S)
			return;
		before = after;
	}
}

/* ---- measuring ---------------------------------------------------------------------------- */

static void show(struct bench *bench, char letter, int64_t run, uint64_t step, const char *what)
{
	char stage[24], note[48];

	snprintf(stage, sizeof(stage), "measure %c", letter);
	snprintf(note, sizeof(note), "run %lld/%lld: %s", (long long)run,
		 (long long)bench->opts->runs, what);
	beam_progress_update(&bench->progress, stage, BEAM_PROGRESS_PERCENT,
			     (uint64_t)(run ? run - 1 : 0) * NSTEPS + step,
			     (uint64_t)bench->opts->runs * NSTEPS, note);
}

/* Saves that do not count: memory that the machine has not used before is slow at its first touch,
 * and that must be nobody's loss. rdbeam saves twice on each server, since it keeps the last image
 * until the next one is whole. In the last save the child's memory is looked at. */
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

		let_daemons_rest(bench);
		code = beam_bench_save(&bench->servers[warming[i].server], warming[i].method,
				       &bench->place, &around, bench->error, &sample);
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

/* The client without a save. */
static int measure_quiet(struct bench *bench, struct beam_bench_result *result)
{
	struct beam_load_opts opts = load_opts(bench, result, CHECKED);
	struct beam_load *load;
	int code;

	let_daemons_rest(bench);
	code = beam_load_start(&opts, bench->error, &load);

	if (code)
		return code;
	pause_ms(QUIET_MS);
	return beam_load_stop(&load, &result->latencies[BEAM_BENCH_QUIET], bench->error);
}

static int measure_step(struct bench *bench, struct beam_bench_result *result,
			const struct step *step)
{
	struct beam_load_opts opts = load_opts(bench, result, step->server);
	struct beam_bench_around around = {.load = step->loaded ? &opts : NULL,
					   .latencies = &result->latencies[step->method]};
	struct beam_bench_series *series = step->loaded ? result->loaded : result->alone;
	struct beam_bench_sample sample;
	int code;

	let_daemons_rest(bench);
	code = beam_bench_save(&bench->servers[step->server], step->method, &bench->place, &around,
			       bench->error, &sample);
	if (!code)
		beam_bench_series_add(&series[step->method], &sample);
	return code;
}

static int measure_run(struct bench *bench, struct beam_bench_result *result, int64_t run)
{
	int code = bench->opts->rate ? measure_quiet(bench, result) : 0;

	for (size_t i = 0; i < NSTEPS && !code; i++) {
		if (steps[i].loaded && !bench->opts->rate)
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
		return fail(bench, -ENOMEM, "cannot keep results", "memory", "free some");
	result->data = data;
	bench->report.results[bench->report.n++] = result;
	code = make_servers(bench, data);
	if (!code) {
		name_server(bench);
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
		return fail(bench, code, "cannot measure memcpy", "512 MB of buffers and threads",
			    "free memory");
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
	return bench->opts->plot ? beam_bench_plot(&bench->report, bench->opts->plot, bench->error)
				 : 0;
}

static int run_bench(struct bench *bench, const struct beam_bench_data *const *list, size_t n)
{
	int code = check_plot(bench);

	if (!code)
		code = find_module(bench);
	if (!code)
		code = find_places(bench);
	if (!code)
		code = measure_all(bench, list, n);
	if (code)
		beam_progress_abandon(&bench->progress);
	else
		beam_progress_end(&bench->progress);
	if (bench->work[0])
		beam_bench_remove(bench->work);
	if (bench->place.memory[0])
		beam_bench_remove(bench->place.memory);
	return code ? code : report(bench);
}

int beam_bench_snapshot(const struct beam_bench_opts *opts)
{
	const struct beam_bench_data *list[BEAM_BENCH_DATA_MAX];
	struct bench *bench;
	char bad[64];
	size_t n;
	int code;

	if (beam_bench_data_parse(opts->data, list, &n, bad, sizeof(bad)))
		return beam_fail_usage(&opts->common,
				       "--data: %s: give some of S,M,T,E,H,X, with commas between",
				       bad);
	bench = calloc(1, sizeof(*bench));
	if (!bench)
		return beam_fail(&opts->common, -ENOMEM, "out of memory: benchmark: free some");
	bench->opts = opts;
	bench->report.runs = opts->runs;
	bench->report.scale = opts->scale;
	bench->report.rate = opts->rate;
	bench->report.writes = opts->writes;
	beam_progress_init(&bench->progress, opts->common.quiet);
	beam_bench_catch_signals();
	code = run_bench(bench, list, n);
	if (beam_bench_interrupted())
		code = beam_fail(&opts->common, -EINTR,
				 "interrupted: by %s: its servers and files are removed",
				 strsignal(beam_bench_interrupted()));
	else if (code)
		code = beam_fail(&opts->common, code, "%s", bench->error);
	beam_bench_report_free(&bench->report);
	free(bench);
	return code;
}
