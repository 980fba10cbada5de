/* SPDX-License-Identifier: BSD-3-Clause
 * A real redis-server for a test: its own directory and port, gone at the end. */
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

/* Looks for the program on the PATH. */
bool test_server_installed(void);
/* Starts one and waits until it says that it is ready. Fails the test if it cannot. */
void test_server_start(struct test_server *server);
void test_server_stop(struct test_server *server);
/* DEBUG DIGEST, as 40 hex digits. */
void test_server_digest(struct test_server *server, char digest[41]);
/* Runs a command that must succeed. */
void test_server_do(struct test_server *server, const char *format, ...);

#endif
