/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Servers started by a benchmark: each has a directory of its own, a free loopback port, and
 * rdbeam.so. They are ended by pid: at the end, when the benchmark gets a signal, and by the kernel
 * if the benchmark is killed. Single-threaded.
 */
#ifndef BEAM_BENCH_SERVER_H
#define BEAM_BENCH_SERVER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "redis.h"

#define BEAM_BENCH_SERVERS_MAX 12 /* at the same time */

struct beam_bench_server_opts {
	const char *program; /* searched in PATH unless it has a slash */
	const char *module;  /* NULL: a server without rdbeam */
	/* Its working directory, which exists; the caller removes it. */
	const char *dir;
	const char *config; /* more lines of configuration, or NULL */
	bool checksum;      /* rdbchecksum, which is fixed at start */
	bool pulls;         /* rdbeamd listens on a free port */
};

struct beam_bench_server {
	pid_t pid; /* 0: none */
	int port;
	bool has_module;
	char dir[PATH_MAX];
	struct beam_redis *redis;
};

/* Starts a server and waits until it and its rdbeamd answer. Returns 0 with a running server, or a
 * negative code with the line in `error` (BEAM_REDIS_ERROR_BYTES) and nothing left running. */
int beam_bench_server_start(const struct beam_bench_server_opts *opts, char *error,
			    struct beam_bench_server *server);

/* Opens another connection to it, which the caller closes. Returns as above. */
int beam_bench_server_connect(const struct beam_bench_server *server, char *error,
			      struct beam_redis **out);

/* Stops the server and waits for its end; does nothing if it does not run. */
void beam_bench_server_stop(struct beam_bench_server *server);

/* From now on SIGINT, SIGTERM and SIGHUP end all servers, so that whatever talks to them fails and
 * unwinds. */
void beam_bench_catch_signals(void);

/* The signal that was received, or 0. */
int beam_bench_interrupted(void);

/* Removes a directory with its contents. */
void beam_bench_remove(const char *dir);

#endif
