/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Directories, servers, and waiting until a server is at rest, for all benchmarks.
 */
#include "bench_rig.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

#include "bench_gnuplot.h"
#include "bench_process.h"
#include "clock.h"
#include "rdbeam/error.h"
#include "report.h"

#define SETTLE_MS 120000
#define HEAP_MS   1200000
#define STILL_MS  7000 /* unchanged for so long: the module's thread has nothing left to do */
#define DBS       5    /* number of databases used by the data sets */
#define REST_MS   200
/* CPU time allowed in REST_MS: two ticks, as much as answering INFO may cost. */
#define REST_CPU_S 0.025
#define FAST_HZ    500

/* ---- where things are --------------------------------------------------------------------- */

int beam_bench_fail(struct beam_bench_rig *rig, int code, const char *what, const char *value,
		    const char *remedy)
{
	snprintf(rig->error, sizeof(rig->error), "%s: %.300s (%s): %s", what, value,
		 beam_strerror(code), remedy);
	return code;
}

static int find_module(struct beam_bench_rig *rig)
{
	char self[PATH_MAX], beside[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (rig->opts->module) {
		if (realpath(rig->opts->module, rig->module))
			return 0;
		return beam_bench_fail(rig, -errno, "--module", rig->opts->module,
				       "give rdbeam.so");
	}
	self[n < 0 ? 0 : n] = '\0';
	if (snprintf(beside, sizeof(beside), "%s/rdbeam.so", dirname(self)) < PATH_MAX &&
	    realpath(beside, rig->module))
		return 0;
	if (realpath(RDBEAM_MODULE_PATH, rig->module))
		return 0;
	return beam_bench_fail(rig, -errno, "no module", RDBEAM_MODULE_PATH,
			       "give it by --module PATH");
}

int beam_bench_rig_dir(struct beam_bench_rig *rig, char *out, const char *parent, const char *name)
{
	if (snprintf(out, PATH_MAX, "%s/%s", parent, name) >= PATH_MAX)
		return beam_bench_fail(rig, -ENAMETOOLONG, "cannot make a directory in", parent,
				       "choose another by --disk");
	if (strstr(name, "XXXXXX") ? mkdtemp(out) != NULL : mkdir(out, 0700) == 0)
		return 0;
	out[0] = '\0';
	return beam_bench_fail(rig, -errno, "cannot make a directory in", parent,
			       "make room or let it be");
}

static int find_places(struct beam_bench_rig *rig)
{
	const char *disk = rig->opts->disk;
	struct statfs fs;

	if (!disk)
		disk = getenv("TMPDIR");
	if (!disk || !*disk)
		disk = "/tmp";
	if (!realpath(disk, rig->disk) || statfs(rig->disk, &fs) != 0)
		return beam_bench_fail(rig, -errno, "--disk", disk, "give a directory");
	rig->disk_is_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
	if (rig->opts->config && !realpath(rig->opts->config, rig->config))
		return beam_bench_fail(rig, -errno, "--config", rig->opts->config, "give a file");
	return beam_bench_rig_dir(rig, rig->work, rig->disk, "rdbeam-bench-XXXXXX");
}

int beam_bench_rig_open(const struct beam_bench_opts *opts, struct beam_bench_rig *rig)
{
	int code = 0;

	rig->opts = opts;
	beam_progress_init(&rig->progress, opts->common.quiet);
	beam_bench_catch_signals();
	if (opts->plot)
		code = beam_gnuplot_check(opts->plot, rig->error);
	if (!code)
		code = find_module(rig);
	return code ? code : find_places(rig);
}

void beam_bench_rig_close(struct beam_bench_rig *rig, int code)
{
	if (code)
		beam_progress_abandon(&rig->progress);
	else
		beam_progress_end(&rig->progress);
	if (rig->work[0])
		beam_bench_remove(rig->work);
	rig->work[0] = '\0';
}

int beam_bench_choose_data(const struct beam_bench_opts *opts,
			   const struct beam_bench_data *list[BEAM_BENCH_DATA_MAX], size_t *n)
{
	char bad[64];

	if (!beam_bench_data_parse(opts->data, list, n, bad, sizeof(bad)))
		return 0;
	return beam_fail_usage(&opts->common,
			       "--data: %s: give some of S,M,T,E,H,X, separated by commas", bad);
}

int beam_bench_end(const struct beam_bench_rig *rig, int code)
{
	const struct beam_common *common = &rig->opts->common;
	int number = beam_bench_interrupted();

	if (number)
		return beam_fail(common, -EINTR,
				 "interrupted: by %s: its servers and files are removed",
				 strsignal(number));
	return code ? beam_fail(common, code, "%s", rig->error) : BEAM_EXIT_DONE;
}

/* ---- servers ------------------------------------------------------------------------------ */

void beam_bench_pause_ms(int ms)
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

/* After a hash table has grown, its entries are moved bit by bit for a minute; until then no two
 * saves read the same memory. A higher hz shortens that to seconds. */
static int settle(struct beam_bench_rig *rig, struct beam_redis *redis)
{
	uint64_t deadline = beam_now_ms() + SETTLE_MS;
	int64_t hz = 10;
	int code;

	beam_redis_info_int(redis, "server", "configured_hz", &hz);
	code = beam_redis_command(redis, NULL, "CONFIG SET hz %d", FAST_HZ);
	while (!code && is_rehashing(redis) && beam_now_ms() < deadline &&
	       !beam_bench_interrupted())
		beam_bench_pause_ms(100);
	if (!code)
		code = beam_redis_command(redis, NULL, "CONFIG SET hz %lld", (long long)hz);
	if (!code)
		code = beam_redis_command(redis, NULL, "MEMORY PURGE");
	if (code)
		snprintf(rig->error, sizeof(rig->error), "server refused: %s (%.300s): see its log",
			 beam_redis_name(redis), beam_redis_error(redis));
	return code;
}

void beam_bench_settle_heap(struct beam_bench_rig *rig, const struct beam_bench_server *server)
{
	struct beam_redis *redis = server->redis;
	uint64_t now = beam_now_ms(), deadline = now + HEAP_MS, changed = now;
	int64_t before = 0, bytes = 0, used = 1;
	char state[8] = "";

	beam_redis_info(redis, "rdbeam", "rdbeam_fork_thp", state, sizeof(state));
	beam_redis_info_int(redis, "memory", "used_memory", &used);
	while (strcmp(state, "on") == 0 && now < deadline && now - changed < STILL_MS &&
	       !beam_bench_interrupted()) {
		if (beam_redis_info_int(redis, "rdbeam", "rdbeam_fork_thp_bytes", &bytes))
			return;
		/* Single pages keep coming and going. */
		if (llabs(bytes - before) > used / 200) {
			changed = now;
			before = bytes;
		}
		beam_progress_update(&rig->progress, "huge pages", BEAM_PROGRESS_BYTES,
				     (uint64_t)(bytes < used ? bytes : used), (uint64_t)used,
				     "of the heap");
		beam_bench_pause_ms(REST_MS);
		now = beam_now_ms();
	}
}

/* Fills through a connection of its own that is closed afterwards: its buffers would otherwise be
 * freed and reused while a child is being observed. */
int beam_bench_rig_fill(struct beam_bench_rig *rig, struct beam_bench_server *server,
			const struct beam_bench_data *data)
{
	struct beam_redis *redis;
	int code = beam_bench_server_connect(server, rig->error, &redis);

	if (code)
		return code;
	code = beam_bench_data_fill(data, rig->opts->scale, redis, &rig->progress, rig->error);
	beam_redis_close(&redis);
	if (!code)
		code = settle(rig, server->redis);
	if (!code)
		beam_bench_settle_heap(rig, server);
	return code;
}

void beam_bench_server_name(struct beam_bench_server *server, char out[64])
{
	struct beam_redis *redis = server->redis;
	char version[32];
	bool valkey =
	    beam_redis_info(redis, "server", "valkey_version", version, sizeof(version)) == 0;

	if (!valkey)
		beam_redis_info(redis, "server", "redis_version", version, sizeof(version));
	snprintf(out, 64, "%s %s", valkey ? "valkey" : "redis", version);
}

double beam_bench_daemon_cpu_s(const struct beam_bench_server *server)
{
	struct beam_process_use use;
	int64_t pid = 0;

	beam_redis_info_int(server->redis, "rdbeam", "rdbeam_daemon_pid", &pid);
	return pid > 0 && beam_process_use((pid_t)pid, &use) == 0 ? use.cpu_s : 0;
}

static double daemons_cpu_s(const struct beam_bench_server *servers, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		if (servers[i].redis)
			sum += beam_bench_daemon_cpu_s(&servers[i]);
	return sum;
}

/* For example, they may still be faulting in memory for later saves. */
void beam_bench_let_rest(const struct beam_bench_server *servers, size_t n)
{
	uint64_t deadline = beam_now_ms() + SETTLE_MS;
	double before = daemons_cpu_s(servers, n), after;

	while (beam_now_ms() < deadline && !beam_bench_interrupted()) {
		beam_bench_pause_ms(REST_MS);
		after = daemons_cpu_s(servers, n);
		if (after - before < REST_CPU_S)
			return;
		before = after;
	}
}
