/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A real redis-server for a test, with a directory and port of its own; both are gone at the end.
 */
#ifndef BEAM_TEST_FEED_SERVER_H
#define BEAM_TEST_FEED_SERVER_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "redis.h"

struct test_server {
	pid_t pid;
	FILE *log; /* the reading end of its output */
	char dir[64];
	struct beam_redis_addr addr;
	struct beam_redis *redis;
};

/* True when the program is in PATH. */
bool test_server_installed(void);
/* Starts a server and waits until it is ready. Fails the test if that does not work. */
void test_server_start(struct test_server *server);
void test_server_stop(struct test_server *server);
/* Gets DEBUG DIGEST as 40 hex digits. */
void test_server_digest(struct test_server *server, char digest[41]);
/* Runs a command that must succeed. */
void test_server_do(struct test_server *server, const char *format, ...);

#endif
