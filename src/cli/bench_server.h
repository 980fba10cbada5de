/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The servers that a benchmark starts for itself: each in a directory of its own, on a free port of
 * the loopback, with rdbeam.so. They are ended by pid: at the end, by a signal to the benchmark, and
 * by the kernel should the benchmark be killed. One thread.
 */
#ifndef BEAM_BENCH_SERVER_H
#define BEAM_BENCH_SERVER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "redis.h"

#define BEAM_BENCH_SERVERS_MAX 12 /* at the same time */

struct beam_bench_server_opts {
	const char *program; /* searched for in PATH unless it has a slash */
	const char *module;  /* NULL: a server without rdbeam */
	const char *dir;     /* exists, is its working directory, the caller's to remove */
	const char *config;  /* more lines of configuration, or NULL */
	bool checksum;       /* rdbchecksum, which no server changes while it runs */
	bool pulls;          /* rdbeamd listens, on a free port */
};

struct beam_bench_server {
	pid_t pid; /* 0: none */
	int port;
	bool has_module;
	char dir[PATH_MAX];
	struct beam_redis *redis;
};

/* Starts a server and waits until it and its rdbeamd answer. 0 and a running server, or a negative
 * code with the line in `error` (BEAM_REDIS_ERROR_BYTES) and nothing left running. */
int beam_bench_server_start(const struct beam_bench_server_opts *opts, char *error,
			    struct beam_bench_server *server);

/* One more connection to it. As above; the caller closes it. */
int beam_bench_server_connect(const struct beam_bench_server *server, char *error,
			      struct beam_redis **out);

/* Ends it and waits for that; nothing for one that does not run. */
void beam_bench_server_stop(struct beam_bench_server *server);

/* From here on SIGINT, SIGTERM and SIGHUP end all servers, so that whatever talks to them fails and
 * is unwound. */
void beam_bench_catch_signals(void);

/* The signal that came, or 0. */
int beam_bench_interrupted(void);

/* Removes a directory with all that is in it. */
void beam_bench_remove(const char *dir);

#endif
