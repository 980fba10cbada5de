/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every benchmark stands on: its directories, the module, servers that are filled and at rest.
 * One thread.
 */
#ifndef BEAM_BENCH_RIG_H
#define BEAM_BENCH_RIG_H

#include <limits.h>
#include <stdbool.h>

#include "bench.h"
#include "bench_data.h"
#include "bench_server.h"
#include "progress.h"

struct beam_bench_rig {
	const struct beam_bench_opts *opts;
	struct beam_progress progress;
	char work[PATH_MAX]; /* "" before it exists; removed with all in it at the end */
	char module[PATH_MAX], config[PATH_MAX]; /* config: "" for none */
	char disk[PATH_MAX];                     /* where `work` is */
	bool disk_is_memory;
	char error[BEAM_REDIS_ERROR_BYTES]; /* the line of the first failure */
};

/* Finds everything, tries whether a plot could be drawn, makes `work`. 0 or a negative code. */
int beam_bench_rig_open(const struct beam_bench_opts *opts, struct beam_bench_rig *rig);
/* Ends the progress by `code`, removes `work`. For a rig that was not opened too. */
void beam_bench_rig_close(struct beam_bench_rig *rig, int code);

/* Writes the line "what: value (code's text): remedy" to rig->error. Returns code. */
int beam_bench_fail(struct beam_bench_rig *rig, int code, const char *what, const char *value,
		    const char *remedy);

/* The data sets that --data names. 0, or an exit code after saying what is wrong. */
int beam_bench_choose_data(const struct beam_bench_opts *opts,
			   const struct beam_bench_data *list[BEAM_BENCH_DATA_MAX], size_t *n);
/* The benchmark is over: says why, if it failed or was interrupted. The exit code. */
int beam_bench_end(const struct beam_bench_rig *rig, int code);

/* Makes parent/name, where name may end in XXXXXX, and writes its path to out[PATH_MAX]. 0, or a
 * negative code with the line, and "" in `out`. */
int beam_bench_rig_dir(struct beam_bench_rig *rig, char *out, const char *parent, const char *name);

/* Fills a server, and waits until its hash tables have reached their sizes. */
int beam_bench_rig_fill(struct beam_bench_rig *rig, struct beam_bench_server *server,
			const struct beam_bench_data *data);

/* "redis 7.0.15" */
void beam_bench_server_name(struct beam_bench_server *server, char out[64]);

/* Waits until the rdbeamd of these servers have nothing to do: what they do after one measurement
 * would be counted as the next one's. */
void beam_bench_let_rest(const struct beam_bench_server *servers, size_t n);

/* CPU seconds so far of a server's rdbeamd; 0 where there is none. */
double beam_bench_daemon_cpu_s(const struct beam_bench_server *server);

void beam_bench_pause_ms(int ms);

/* With rdbeam.fork-thp, waits until the heap has all the huge pages that it gets: they come a little at a
 * time, none while a child lives, and each save under writes takes some. */
void beam_bench_settle_heap(struct beam_bench_rig *rig, const struct beam_bench_server *server);

#endif
