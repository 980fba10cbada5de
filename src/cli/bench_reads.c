/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam bench reads: what a pull by RDMA READ takes out of the device, against ib_read_bw on the
 * same device in the same run, and what it costs the primary, against TCP. The primary runs
 * already, on this host, and is reached by the device's own address, so that both ends of the reads
 * are here and its processes can be looked at.
 */
#include "bench.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_process.h"
#include "bench_read_bw.h"
#include "bench_result.h"
#include "clock.h"
#include "connect.h"
#include "median.h"
#include "pull.h"
#include "rdbeam/error.h"
#include "report.h"

#define BUFFER_BYTES (256ull << 20)
#define SAMPLE_BYTES 1000000000 /* read for one sample, by as many pulls as that takes */

enum { VERBS, TCP, TRANSPORTS };
static const char *const transports[TRANSPORTS] = {"verbs", "tcp"};
enum { SERVER, DAEMON, PROCESSES };

/* User time at a moment. */
struct mark {
	uint64_t ns, user_ns[PROCESSES];
};

struct sample {
	double mb_per_s[TRANSPORTS];
	double cpu_ms_per_gb[TRANSPORTS]; /* during the reads */
	double s_per_gb[TRANSPORTS];
	double setup_ms[TRANSPORTS]; /* of one pull: user CPU before the reads and after */
	double setup_s[TRANSPORTS];  /* what lies before and after takes */
	double idle_ms_per_s;
	double ib_mb_per_s;
};

struct reads {
	const struct beam_bench_opts *opts;
	struct beam_pull_opts pull;
	struct beam_read_bw ib;
	pid_t pids[PROCESSES];
	double idle_ms, idle_s; /* while nobody pulls, over all runs */
	struct mark begin, end; /* of the reads of the pull that runs */
	struct sample samples[BEAM_BENCH_RUNS_MAX];
	size_t n;
};

/* ---- the primary -------------------------------------------------------------------------- */

static int look_up(struct reads *reads, struct beam_redis *redis)
{
	static const struct {
		const char *section, *field;
	} pids[2] = {{"server", "process_id"}, {"rdbeam", "rdbeam_daemon_pid"}};
	const struct beam_common *common = &reads->opts->common;
	char text[64], gid[64];
	uint64_t ns;

	for (size_t i = 0; i < 2; i++) {
		if (beam_redis_info(redis, pids[i].section, pids[i].field, text, sizeof(text)))
			return beam_fail(common, -ENOENT,
					 "%s: INFO has no %s: load the module (MODULE LIST)",
					 reads->opts->from, pids[i].field);
		reads->pids[i] = (pid_t)strtol(text, NULL, 10);
		if (reads->pids[i] <= 0 || beam_process_user_ns(reads->pids[i], &ns))
			return beam_fail(common, -ESRCH,
					 "%s: process %s is not on this host: run the benchmark "
					 "where the primary runs",
					 reads->opts->from, text);
	}
	if (beam_redis_info(redis, "rdbeam", "rdbeam_rdma_device", text, sizeof(text)) || !text[0])
		return beam_fail(common, -ENODEV,
				 "%s: its daemon has no RDMA device: see rdma link, and "
				 "rdbeam.transport",
				 reads->opts->from);
	beam_redis_info(redis, "rdbeam", "rdbeam_rdma_gid", gid, sizeof(gid));
	return beam_read_bw_init(&reads->ib, text, gid, reads->pull.from.host);
}

static void set_mark(const struct reads *reads, struct mark *mark)
{
	mark->ns = beam_now_ns();
	for (size_t i = 0; i < PROCESSES; i++)
		if (beam_process_user_ns(reads->pids[i], &mark->user_ns[i]))
			mark->user_ns[i] = 0;
}

static void on_reads(void *arg, bool begin)
{
	struct reads *reads = arg;

	set_mark(reads, begin ? &reads->begin : &reads->end);
}

static double used_ms(const struct mark *from, const struct mark *to)
{
	double ns = 0;

	/* Not of their difference: the clock counts in steps, and can step back by one. */
	for (size_t p = 0; p < PROCESSES; p++)
		ns += (double)to->user_ns[p] - (double)from->user_ns[p];
	return ns / 1e6;
}

static double seconds(const struct mark *from, const struct mark *to)
{
	return (double)(to->ns - from->ns) / 1e9;
}

/* Timers, which a longer pull merely has more of; measured while ib_read_bw keeps machine and device as
 * busy as a pull does, for what a wake-up costs depends on that. They are few: one run's say little. */
static int measure_idle(struct reads *reads, struct sample *sample)
{
	char error[BEAM_REDIS_ERROR_BYTES];
	struct mark from, to;

	set_mark(reads, &from);
	int code = beam_read_bw_run(&reads->ib, &sample->ib_mb_per_s, error);

	if (code)
		return beam_fail(&reads->opts->common, code, "%s", error);
	set_mark(reads, &to);
	reads->idle_ms += used_ms(&from, &to);
	reads->idle_s += seconds(&from, &to);
	sample->idle_ms_per_s = used_ms(&from, &to) / seconds(&from, &to);
	return 0;
}

/* ---- measuring ---------------------------------------------------------------------------- */

/* Sums over pulls. */
struct sums {
	uint64_t bytes;
	uint32_t pulls;
	double reads_ms, reads_s;
	double setup_ms, setup_s;
};

static int add_pull(struct reads *reads, int transport, struct sums *sums)
{
	struct beam_pull_result result = {0};
	struct mark before, after;

	reads->pull.transport = transports[transport];
	set_mark(reads, &before);
	int rc = beam_pull_run(&reads->pull, NULL, NULL, &result);

	if (rc)
		return beam_fail(&reads->opts->common, rc, "%s", result.error);
	set_mark(reads, &after);
	sums->bytes += result.image_bytes;
	sums->pulls++;
	sums->reads_ms += used_ms(&reads->begin, &reads->end);
	sums->reads_s += seconds(&reads->begin, &reads->end);
	sums->setup_ms += used_ms(&before, &reads->begin) + used_ms(&reads->end, &after);
	sums->setup_s += seconds(&before, &reads->begin) + seconds(&reads->end, &after);
	return 0;
}

static int measure_pulls(struct reads *reads, int transport, struct sample *sample)
{
	struct sums sums = {0};

	while (sums.bytes < SAMPLE_BYTES) {
		int rc = add_pull(reads, transport, &sums);

		if (rc)
			return rc;
	}
	double gb = (double)sums.bytes / 1e9;

	sample->mb_per_s[transport] = 1000 * gb / sums.reads_s;
	sample->cpu_ms_per_gb[transport] = sums.reads_ms / gb;
	sample->s_per_gb[transport] = sums.reads_s / gb;
	sample->setup_ms[transport] = sums.setup_ms / sums.pulls;
	sample->setup_s[transport] = sums.setup_s / sums.pulls;
	if (!reads->opts->common.quiet)
		fprintf(stderr,
			"run %zu: %s: %u pulls, %.1f MB/s; user CPU, timers included: %.2f ms/GB "
			"while they read, %.2f ms a pull before and after\n",
			reads->n + 1, transports[transport], sums.pulls,
			sample->mb_per_s[transport], sample->cpu_ms_per_gb[transport],
			sample->setup_ms[transport]);
	return 0;
}

static int measure(struct reads *reads)
{
	struct sample *sample = &reads->samples[reads->n];
	int code = measure_idle(reads, sample);

	if (code)
		return code;
	if (!reads->opts->common.quiet)
		fprintf(stderr, "run %zu: ib_read_bw %.1f MB/s; idle %.2f ms/s\n", reads->n + 1,
			sample->ib_mb_per_s, sample->idle_ms_per_s);
	for (int t = 0; t < TRANSPORTS; t++) {
		code = measure_pulls(reads, t, sample);
		if (code)
			return code;
	}
	reads->n++;
	return 0;
}

/* What is used idly does not count. Below zero: less than its noise. */
static void subtract_idle(struct reads *reads)
{
	double idle = reads->idle_s > 0 ? reads->idle_ms / reads->idle_s : 0;

	for (size_t i = 0; i < reads->n; i++)
		for (int t = 0; t < TRANSPORTS; t++) {
			struct sample *sample = &reads->samples[i];

			sample->cpu_ms_per_gb[t] -= idle * sample->s_per_gb[t];
			sample->setup_ms[t] -= idle * sample->setup_s[t];
		}
}

/* ---- the report --------------------------------------------------------------------------- */

#define MEDIAN(reads, member) median(reads, offsetof(struct sample, member))
#define CPU(reads, member)    at_least_zero(MEDIAN(reads, member))

static double at_least_zero(double value)
{
	return value > 0 ? value : 0;
}

static double median(const struct reads *reads, size_t offset)
{
	double values[BEAM_BENCH_RUNS_MAX];

	for (size_t i = 0; i < reads->n; i++)
		memcpy(&values[i], (const char *)&reads->samples[i] + offset, sizeof(double));
	return beam_median(values, reads->n);
}

static void print_json(const struct reads *reads, double verbs, double ib)
{
	cJSON *object = cJSON_CreateObject();

	beam_json_decimal(object, "verbs_mb_per_s", verbs, 1);
	beam_json_decimal(object, "ib_read_bw_mb_per_s", ib, 1);
	beam_json_decimal(object, "ratio_to_ib_read_bw", ib > 0 ? verbs / ib : 0, 3);
	beam_json_decimal(object, "primary_cpu_ms_per_gb_verbs", CPU(reads, cpu_ms_per_gb[VERBS]),
			  2);
	beam_json_decimal(object, "primary_cpu_ms_per_gb_tcp", CPU(reads, cpu_ms_per_gb[TCP]), 2);
	beam_json_decimal(object, "setup_cpu_ms_verbs", CPU(reads, setup_ms[VERBS]), 2);
	beam_json_decimal(object, "setup_cpu_ms_tcp", CPU(reads, setup_ms[TCP]), 2);
	beam_json_decimal(object, "idle_cpu_ms_per_s", MEDIAN(reads, idle_ms_per_s), 2);
	beam_json_u64(object, "runs", reads->n);
	beam_json_print(object);
}

static void print(const struct reads *reads)
{
	double verbs = MEDIAN(reads, mb_per_s[VERBS]);
	double ib = MEDIAN(reads, ib_mb_per_s);

	if (reads->opts->common.json) {
		print_json(reads, verbs, ib);
		return;
	}
	printf("ib_read_bw   %10.1f MB/s on %s\n", ib, reads->ib.device);
	for (int t = 0; t < TRANSPORTS; t++)
		printf("%-12s %10.1f MB/s, %.3f of it; primary's user CPU %.2f ms/GB while it is "
		       "read, %.2f ms before and after\n",
		       transports[t], MEDIAN(reads, mb_per_s[t]),
		       ib > 0 ? MEDIAN(reads, mb_per_s[t]) / ib : 0, CPU(reads, cpu_ms_per_gb[t]),
		       CPU(reads, setup_ms[t]));
}

/* ---- the benchmark ------------------------------------------------------------------------ */

static int prepare(struct reads *reads)
{
	const struct beam_common *common = &reads->opts->common;
	char error[BEAM_REDIS_ERROR_BYTES];
	struct beam_redis *redis;
	struct sums unused = {0};
	int code = beam_redis_open(&reads->pull.from, BEAM_CONNECT_TIMEOUT_MS, error, &redis);

	if (code)
		return beam_fail(common, code, "%s", error);
	code = look_up(reads, redis);
	beam_redis_close(&redis);
	if (code)
		return code;
	/* Makes the image and, on a new server, the backlog without which none is used again. */
	code = add_pull(reads, TCP, &unused);
	return code ? code : add_pull(reads, TCP, &unused);
}

int beam_bench_reads(const struct beam_bench_opts *opts)
{
	static struct reads reads;
	int code;

	reads = (struct reads){.opts = opts,
			       .pull = {.target = BEAM_PULL_DISCARD,
					.buffer_bytes = BUFFER_BYTES,
					.timeout_ms = BEAM_CONNECT_TIMEOUT_MS,
					.on_reads = on_reads,
					.on_reads_arg = &reads}};
	if (!opts->from)
		return beam_fail_usage(&opts->common,
				       "--from: missing: give the primary on this host, by the "
				       "address of its RDMA device");
	code =
	    beam_connect_addr(&opts->common, "--from", opts->from, NULL, NULL, "RDBEAM_FROM_PASS",
			      &(struct beam_connect_tls){0}, &reads.pull.from);
	if (!code)
		code = prepare(&reads);
	while (!code && reads.n < (size_t)opts->runs)
		code = measure(&reads);
	if (!code) {
		subtract_idle(&reads);
		print(&reads);
	}
	explicit_bzero(reads.pull.from.password, sizeof(reads.pull.from.password));
	return code;
}
