/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The base of every benchmark: directories, the module, and servers that are filled and at rest.
 * Single-threaded.
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
	/* "" until it exists; removed with its contents at the end. */
	char work[PATH_MAX];
	char module[PATH_MAX], config[PATH_MAX]; /* config: "" for none */
	char disk[PATH_MAX];                     /* parent of `work` */
	bool disk_is_memory;
	char error[BEAM_REDIS_ERROR_BYTES]; /* the line of the first failure */
};

/* Finds everything, checks that a plot could be drawn, and makes `work`. Returns 0 or a negative
 * code. */
int beam_bench_rig_open(const struct beam_bench_opts *opts, struct beam_bench_rig *rig);
/* Ends the progress display according to `code` and removes `work`. Also for a rig that failed to
 * open. */
void beam_bench_rig_close(struct beam_bench_rig *rig, int code);

/* Writes the line "what: value (code's text): remedy" to rig->error. Returns `code`. */
int beam_bench_fail(struct beam_bench_rig *rig, int code, const char *what, const char *value,
		    const char *remedy);

/* Gets the data sets named by --data. Returns 0, or an exit code after writing what is wrong. */
int beam_bench_choose_data(const struct beam_bench_opts *opts,
			   const struct beam_bench_data *list[BEAM_BENCH_DATA_MAX], size_t *n);
/* Ends the benchmark: writes the reason if it failed or was interrupted. Returns the exit code. */
int beam_bench_end(const struct beam_bench_rig *rig, int code);

/* Makes the directory parent/name, where name may end in XXXXXX, and writes its path to
 * out[PATH_MAX]. Returns 0, or a negative code with the line, and "" in `out`. */
int beam_bench_rig_dir(struct beam_bench_rig *rig, char *out, const char *parent, const char *name);

/* Fills a server and waits until its hash tables have their final sizes. Returns 0 or a negative
 * code with the line. */
int beam_bench_rig_fill(struct beam_bench_rig *rig, struct beam_bench_server *server,
			const struct beam_bench_data *data);

/* Writes the server's name and version: "redis 7.0.15". */
void beam_bench_server_name(struct beam_bench_server *server, char out[64]);

/* Waits until the rdbeamd processes of these servers are idle: work left over from one measurement
 * would count in the next. */
void beam_bench_let_rest(const struct beam_bench_server *servers, size_t n);

/* CPU seconds used so far by the server's rdbeamd; 0 when it has none. */
double beam_bench_daemon_cpu_s(const struct beam_bench_server *server);

/* Sleeps; a signal ends the sleep early. */
void beam_bench_pause_ms(int ms);

/* With rdbeam.fork-thp, waits until the heap has all the huge pages that it will get: they come
 * gradually, not while a child lives, and each save under writes breaks some up. */
void beam_bench_settle_heap(struct beam_bench_rig *rig, const struct beam_bench_server *server);

#endif
