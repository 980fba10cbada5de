/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam bench reads: compares the bandwidth of a pull by RDMA READ with that of ib_read_bw on the
 * same device in the same run, and what the pull costs the primary with a pull over TCP. The
 * primary must already run on this host and is reached by the device's own address, so that both
 * ends of the reads are here and its processes can be observed.
 */
#include "bench.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_cpu_clock.h"
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
#define SAMPLE_BYTES 1000000000 /* read for one sample, by as many pulls as needed */

enum { VERBS, TCP, TRANSPORTS };
static const char *const transports[TRANSPORTS] = {"verbs", "tcp"};
enum { SERVER, DAEMON, PROCESSES };

struct mark {
	uint64_t ns;
	struct beam_cpu_time used; /* by both processes */
};

/* Elapsed time, and the processor time that both processes used in it. */
struct use {
	double s, user_ms, system_ms;
	double stretches; /* periods in user mode */
};

struct sample {
	double mb_per_s[TRANSPORTS];
	struct use reads[TRANSPORTS]; /* per GB */
	struct use setup[TRANSPORTS]; /* per pull: before and after the reads */
	struct use idle;              /* while nobody pulls */
	double ib_mb_per_s;
};

struct reads {
	const struct beam_bench_opts *opts;
	struct beam_pull_opts pull;
	struct beam_read_bw ib;
	pid_t pids[PROCESSES];
	struct beam_cpu_clock *clock;
	int clock_err;
	struct mark begin, end; /* of the present pull's reads */
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
	uint64_t user_ns, run_ns;

	for (size_t i = 0; i < 2; i++) {
		if (beam_redis_info(redis, pids[i].section, pids[i].field, text, sizeof(text)))
			return beam_fail(common, -ENOENT,
					 "%s: INFO has no %s: load the module (MODULE LIST)",
					 reads->opts->from, pids[i].field);
		reads->pids[i] = (pid_t)strtol(text, NULL, 10);
		if (reads->pids[i] <= 0 || beam_process_clocks(reads->pids[i], &user_ns, &run_ns))
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

static void set_mark(struct reads *reads, struct mark *mark)
{
	mark->ns = beam_now_ns();
	int err = beam_cpu_clock_read(reads->clock, &mark->used);

	if (err)
		reads->clock_err = err;
}

static int clock_failed(const struct reads *reads)
{
	const struct beam_common *common = &reads->opts->common;

	if (reads->clock_err == -EOVERFLOW)
		return beam_fail(common, reads->clock_err,
				 "%s: the kernel's trace had no room for all of one pull: measure "
				 "with a smaller image, or not as root (by ticks)",
				 reads->opts->from);
	return beam_fail(common, reads->clock_err, "%s: processor time of its processes: %s",
			 reads->opts->from, beam_strerror(reads->clock_err));
}

static void on_reads(void *arg, bool begin)
{
	struct reads *reads = arg;

	set_mark(reads, begin ? &reads->begin : &reads->end);
	if (begin)
		reads->begin.ns = beam_now_ns(); /* exclude the time for reading the clock */
}

/* Differences can be negative, since a clock of ticks can step back by one. */
static void add_use(struct use *sum, const struct mark *from, const struct mark *to)
{
	double user = (double)to->used.user_ns - (double)from->used.user_ns;
	double run = (double)to->used.run_ns - (double)from->used.run_ns;

	sum->s += (double)(to->ns - from->ns) / 1e9;
	sum->user_ms += user / 1e6;
	sum->system_ms += (run - user) / 1e6;
	sum->stretches += (double)(to->used.stretches - from->used.stretches);
}

static struct use each(const struct use *sum, double n)
{
	return (struct use){sum->s / n, sum->user_ms / n, sum->system_ms / n, sum->stretches / n};
}

/* Measures the idle cost of timers, of which a longer pull merely has more. It is measured while
 * ib_read_bw keeps the machine and the device as busy as a pull does, and for as many bytes, since
 * the cost of a wake-up depends on that. */
static int measure_idle(struct reads *reads, struct sample *sample)
{
	char error[BEAM_REDIS_ERROR_BYTES];
	struct mark from, to;

	set_mark(reads, &from);
	int code = beam_read_bw_run(&reads->ib, SAMPLE_BYTES, &sample->ib_mb_per_s, error);

	if (code)
		return beam_fail(&reads->opts->common, code, "%s", error);
	set_mark(reads, &to);
	add_use(&sample->idle, &from, &to);
	sample->idle = each(&sample->idle, sample->idle.s);
	return 0;
}

/* ---- measuring ---------------------------------------------------------------------------- */

/* Sums over several pulls. */
struct sums {
	uint64_t bytes;
	uint32_t pulls;
	struct use reads, setup;
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
	if (reads->clock_err)
		return clock_failed(reads);
	sums->bytes += result.image_bytes;
	sums->pulls++;
	add_use(&sums->reads, &reads->begin, &reads->end);
	add_use(&sums->setup, &before, &reads->begin);
	add_use(&sums->setup, &reads->end, &after);
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
	struct use *use = &sample->reads[transport], *setup = &sample->setup[transport];

	sample->mb_per_s[transport] = 1000 * gb / sums.reads.s;
	*use = each(&sums.reads, gb);
	*setup = each(&sums.setup, sums.pulls);
	if (!reads->opts->common.quiet)
		fprintf(stderr,
			"run %zu: %s: %u pulls, %.1f MB/s; CPU, timers included, user + system: "
			"%.2f + %.2f ms/GB while they read, %.2f + %.2f ms a pull before and "
			"after\n",
			reads->n + 1, transports[transport], sums.pulls,
			sample->mb_per_s[transport], use->user_ms, use->system_ms, setup->user_ms,
			setup->system_ms);
	return 0;
}

static int measure(struct reads *reads)
{
	struct sample *sample = &reads->samples[reads->n];
	int code = measure_idle(reads, sample);

	if (code)
		return code;
	if (!reads->opts->common.quiet)
		fprintf(stderr, "run %zu: ib_read_bw %.1f MB/s; idle %.3f + %.3f ms/s\n",
			reads->n + 1, sample->ib_mb_per_s, sample->idle.user_ms,
			sample->idle.system_ms);
	for (int t = 0; t < TRANSPORTS; t++) {
		code = measure_pulls(reads, t, sample);
		if (code)
			return code;
	}
	reads->n++;
	return 0;
}

static void less(struct use *use, const struct use *idle)
{
	use->user_ms -= use->s * idle->user_ms;
	use->system_ms -= use->s * idle->system_ms;
}

/* Subtracts what the events themselves cost within the periods. */
static void less_events(struct use *use, double event_ns)
{
	use->user_ms -= use->stretches * event_ns / 1e6;
}

/* Subtracts the idle use measured in the same run. A negative result means: less than the noise. */
static void subtract(struct reads *reads)
{
	double event_ns = beam_cpu_clock_event_ns(reads->clock);

	for (size_t i = 0; i < reads->n; i++) {
		struct sample *sample = &reads->samples[i];

		less_events(&sample->idle, event_ns);
		for (int t = 0; t < TRANSPORTS; t++) {
			less_events(&sample->reads[t], event_ns);
			less_events(&sample->setup[t], event_ns);
			less(&sample->reads[t], &sample->idle);
			less(&sample->setup[t], &sample->idle);
			if (!reads->opts->common.quiet)
				fprintf(stderr,
					"run %zu: %s: user CPU %.2f ms/GB, idle's subtracted\n",
					i + 1, transports[t], sample->reads[t].user_ms);
		}
	}
	if (!reads->opts->common.quiet && event_ns > 0)
		fprintf(stderr,
			"each event of the kernel's took %.2f us, which are subtracted too\n",
			event_ns / 1e3);
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
	beam_json_decimal(object, "primary_cpu_ms_per_gb_verbs", CPU(reads, reads[VERBS].user_ms),
			  2);
	beam_json_decimal(object, "primary_cpu_ms_per_gb_tcp", CPU(reads, reads[TCP].user_ms), 2);
	beam_json_decimal(object, "setup_cpu_ms_verbs", CPU(reads, setup[VERBS].user_ms), 2);
	beam_json_decimal(object, "setup_cpu_ms_tcp", CPU(reads, setup[TCP].user_ms), 2);
	beam_json_decimal(object, "idle_cpu_ms_per_s", MEDIAN(reads, idle.user_ms), 3);
	beam_json_text(object, "cpu_clock",
		       beam_cpu_clock_exact(reads->clock) ? "events" : "ticks");
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
		printf("%-12s %10.1f MB/s, %.3f of it; primary's CPU, user + system: %.2f + %.2f "
		       "ms/GB while it is read, %.2f + %.2f ms before and after\n",
		       transports[t], MEDIAN(reads, mb_per_s[t]),
		       ib > 0 ? MEDIAN(reads, mb_per_s[t]) / ib : 0, CPU(reads, reads[t].user_ms),
		       CPU(reads, reads[t].system_ms), CPU(reads, setup[t].user_ms),
		       CPU(reads, setup[t].system_ms));
	printf("user CPU by %s\n", beam_cpu_clock_exact(reads->clock)
				       ? "the kernel's events"
				       : "the kernel's ticks: too coarse for less than seconds");
}

/* ---- the benchmark ------------------------------------------------------------------------ */

static int open_clock(struct reads *reads)
{
	int err = beam_cpu_clock_open(reads->pids, PROCESSES, &reads->clock);

	return err ? beam_fail(&reads->opts->common, err, "cannot start: %s", beam_strerror(err))
		   : 0;
}

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
	code = open_clock(reads);
	if (code)
		return code;
	/* This makes the image and, on a new server, the backlog that is needed to use an image
	 * again. */
	code = add_pull(reads, TCP, &unused);
	if (!code)
		code = add_pull(reads, TCP, &unused);
	if (code)
		return code;
	/* Reopen without the time of ended children that saved: the processes' own clocks do not
	 * include it. */
	bool works = unused.reads.user_ms > 0;

	beam_cpu_clock_close(&reads->clock);
	code = open_clock(reads);
	if (!code && !works)
		beam_cpu_clock_distrust(reads->clock);
	return code;
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
		subtract(&reads);
		print(&reads);
	}
	beam_cpu_clock_close(&reads.clock);
	explicit_bzero(reads.pull.from.password, sizeof(reads.pull.from.password));
	return code;
}
