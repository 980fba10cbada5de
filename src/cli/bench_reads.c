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

#define IDLE_S       2
#define BUFFER_BYTES (256ull << 20)

enum { VERBS, TCP, TRANSPORTS };
static const char *const transports[TRANSPORTS] = {"verbs", "tcp"};

struct sample {
	double mb_per_s[TRANSPORTS];
	double cpu_ms_per_gb[TRANSPORTS];
	double ib_mb_per_s;
};

struct reads {
	const struct beam_bench_opts *opts;
	struct beam_pull_opts pull;
	struct beam_read_bw ib;
	pid_t pids[2];   /* server, daemon */
	double idle_cpu; /* of both, as a part of one processor's time */
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

static double user_ms(const struct reads *reads)
{
	double ms = 0;
	uint64_t ns;

	for (size_t i = 0; i < 2; i++)
		if (!beam_process_user_ns(reads->pids[i], &ns))
			ms += (double)ns / 1e6;
	return ms;
}

/* What both use while nobody pulls: timers of Redis, which a longer pull merely has more of. */
static void measure_idle(struct reads *reads)
{
	double before = user_ms(reads);
	uint64_t began_ms = beam_now_ms();

	nanosleep(&(struct timespec){.tv_sec = IDLE_S}, NULL);
	reads->idle_cpu = (user_ms(reads) - before) / (double)(beam_now_ms() - began_ms);
}

/* ---- measuring ---------------------------------------------------------------------------- */

static int measure_pull(struct reads *reads, int transport, struct sample *sample)
{
	struct beam_pull_result result = {0};
	double before = user_ms(reads);
	uint64_t began_ms = beam_now_ms();

	reads->pull.transport = transports[transport];
	int rc = beam_pull_run(&reads->pull, NULL, NULL, &result);

	if (rc)
		return beam_fail(&reads->opts->common, rc, "%s", result.error);
	double idle_ms = reads->idle_cpu * (double)(beam_now_ms() - began_ms);
	double cpu_ms = user_ms(reads) - before - idle_ms;

	if (!result.transfer_ms)
		result.transfer_ms = 1;
	sample->mb_per_s[transport] =
	    (double)result.image_bytes / 1000 / (double)result.transfer_ms;
	sample->cpu_ms_per_gb[transport] =
	    (cpu_ms > 0 ? cpu_ms : 0) * 1e9 / (double)result.image_bytes;
	return 0;
}

static int measure(struct reads *reads)
{
	struct sample *sample = &reads->samples[reads->n];
	char error[BEAM_REDIS_ERROR_BYTES];
	int code = beam_read_bw_run(&reads->ib, &sample->ib_mb_per_s, error);

	if (code)
		return beam_fail(&reads->opts->common, code, "%s", error);
	measure_idle(reads);
	for (int t = 0; t < TRANSPORTS; t++) {
		code = measure_pull(reads, t, sample);
		if (code)
			return code;
	}
	reads->n++;
	if (!reads->opts->common.quiet)
		fprintf(
		    stderr,
		    "run %zu: ib_read_bw %.1f MB/s; verbs %.1f MB/s, %.2f ms/GB; tcp %.1f MB/s, "
		    "%.2f ms/GB; idle %.2f ms/s\n",
		    reads->n, sample->ib_mb_per_s, sample->mb_per_s[VERBS],
		    sample->cpu_ms_per_gb[VERBS], sample->mb_per_s[TCP], sample->cpu_ms_per_gb[TCP],
		    reads->idle_cpu * 1000);
	return 0;
}

/* ---- the report --------------------------------------------------------------------------- */

#define MEDIAN(reads, member) median(reads, offsetof(struct sample, member))

static double median(const struct reads *reads, size_t offset)
{
	double values[BEAM_BENCH_RUNS_MAX];

	for (size_t i = 0; i < reads->n; i++)
		memcpy(&values[i], (const char *)&reads->samples[i] + offset, sizeof(double));
	return beam_median(values, reads->n);
}

static void print(const struct reads *reads)
{
	double verbs = MEDIAN(reads, mb_per_s[VERBS]);
	double ib = MEDIAN(reads, ib_mb_per_s);
	double cpu[TRANSPORTS] = {MEDIAN(reads, cpu_ms_per_gb[VERBS]),
				  MEDIAN(reads, cpu_ms_per_gb[TCP])};

	if (!reads->opts->common.json) {
		printf("ib_read_bw   %10.1f MB/s on %s\n"
		       "verbs        %10.1f MB/s, %.3f of it; primary's user CPU %.2f ms/GB\n"
		       "tcp          %10.1f MB/s; primary's user CPU %.2f ms/GB\n",
		       ib, reads->ib.device, verbs, ib > 0 ? verbs / ib : 0, cpu[VERBS],
		       MEDIAN(reads, mb_per_s[TCP]), cpu[TCP]);
		return;
	}
	cJSON *object = cJSON_CreateObject();

	beam_json_decimal(object, "verbs_mb_per_s", verbs, 1);
	beam_json_decimal(object, "ib_read_bw_mb_per_s", ib, 1);
	beam_json_decimal(object, "ratio_to_ib_read_bw", ib > 0 ? verbs / ib : 0, 3);
	beam_json_decimal(object, "primary_cpu_ms_per_gb_verbs", cpu[VERBS], 2);
	beam_json_decimal(object, "primary_cpu_ms_per_gb_tcp", cpu[TCP], 2);
	beam_json_u64(object, "runs", reads->n);
	beam_json_print(object);
}

/* ---- the benchmark ------------------------------------------------------------------------ */

static int prepare(struct reads *reads)
{
	const struct beam_common *common = &reads->opts->common;
	char error[BEAM_REDIS_ERROR_BYTES];
	struct beam_redis *redis;
	int code = beam_redis_open(&reads->pull.from, BEAM_CONNECT_TIMEOUT_MS, error, &redis);

	if (code)
		return beam_fail(common, code, "%s", error);
	code = look_up(reads, redis);
	beam_redis_close(&redis);
	if (code)
		return code;
	/* Makes the image and, on a new server, the backlog without which none is used again. */
	struct sample unused;

	code = measure_pull(reads, TCP, &unused);
	return code ? code : measure_pull(reads, TCP, &unused);
}

int beam_bench_reads(const struct beam_bench_opts *opts)
{
	static struct reads reads;
	int code;

	reads = (struct reads){.opts = opts,
			       .pull = {.target = BEAM_PULL_DISCARD,
					.buffer_bytes = BUFFER_BYTES,
					.timeout_ms = BEAM_CONNECT_TIMEOUT_MS}};
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
	if (!code)
		print(&reads);
	explicit_bzero(reads.pull.from.password, sizeof(reads.pull.from.password));
	return code;
}
