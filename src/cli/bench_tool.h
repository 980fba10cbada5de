/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A process that fills a replica for bench sync: rdbeam pull, or the loop that GETs from one server
 * and SETs on the other. It dies with the benchmark. Single-threaded.
 */
#ifndef BEAM_BENCH_TOOL_H
#define BEAM_BENCH_TOOL_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include <cjson/cJSON.h>

#include "bench_data.h"

struct beam_tool {
	pid_t pid; /* 0: none, or it has ended */
	int status;
	double cpu_ms;
	char out[PATH_MAX]; /* file with its output, in the caller's directory */
};

/* Runs this program; argv[0] is replaced by its path. Returns 0 or -errno. */
int beam_tool_run(const char *const argv[], const char *dir, struct beam_tool *tool);

/* Copies all keys of a data set of strings one at a time, as the seed's program did. It exits with
 * BEAM_TOOL_GAVE_UP after `limit_ms`. Returns 0 or -errno. */
int beam_tool_loop(const struct beam_bench_data *data, int64_t scale, int from_port, int to_port,
		   int limit_ms, const char *dir, struct beam_tool *tool);

#define BEAM_TOOL_GAVE_UP 75

/* True when it has ended; then status and cpu_ms are set. */
bool beam_tool_ended(struct beam_tool *tool);
/* Kills it if it runs. */
void beam_tool_stop(struct beam_tool *tool);

/* The JSON object printed by a pull, which the caller frees; or NULL. */
cJSON *beam_tool_said(const struct beam_tool *tool);

#endif
