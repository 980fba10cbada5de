/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Starts a server and waits for its "Ready to accept connections".
 */
#include "feed_server.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#define TIMEOUT_MS 20000

bool test_server_installed(void)
{
	return system("redis-server --version > /dev/null 2>&1") == 0;
}

/* Finds a port that is free at this moment. */
static uint32_t free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

static void exec_server(int out, const struct test_server *server)
{
	char port[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(port, sizeof(port), "%u", server->addr.port);
	dup2(out, STDOUT_FILENO);
	execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir",
	       server->dir, "--save", "", "--enable-debug-command", "yes", "--repl-diskless-load",
	       "on-empty-db", (char *)NULL);
	_exit(127);
}

void test_server_start(struct test_server *server)
{
	char line[512], error[BEAM_REDIS_ERROR_BYTES];
	int fds[2];
	bool ready = false;

	memset(server, 0, sizeof(*server));
	snprintf(server->dir, sizeof(server->dir), "/tmp/rdbeam-feed-XXXXXX");
	assert_non_null(mkdtemp(server->dir));
	snprintf(server->addr.host, sizeof(server->addr.host), "127.0.0.1");
	server->addr.port = free_port();
	assert_int_equal(pipe(fds), 0);
	server->pid = fork();
	assert_true(server->pid >= 0);
	if (server->pid == 0)
		exec_server(fds[1], server);
	close(fds[1]);
	FILE *log = fdopen(fds[0], "r");

	while (!ready && fgets(line, sizeof(line), log))
		ready = strstr(line, "Ready to accept connections") != NULL;
	assert_true(ready);
	/* Later lines fit into the pipe. If it were closed, the server's log writes would fail. */
	server->log = log;
	assert_int_equal(beam_redis_open(&server->addr, TIMEOUT_MS, error, &server->redis), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void test_server_stop(struct test_server *server)
{
	beam_redis_close(&server->redis);
	fclose(server->log);
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	nftw(server->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void test_server_do(struct test_server *server, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int rc = beam_redis_commandv(server->redis, NULL, format, args);

	va_end(args);
	if (rc)
		fail_msg("%s: %s", format, beam_redis_error(server->redis));
}

void test_server_digest(struct test_server *server, char digest[41])
{
	redisReply *reply = NULL;

	assert_int_equal(beam_redis_command(server->redis, &reply, "DEBUG DIGEST"), 0);
	assert_int_equal(reply->len, 40);
	memcpy(digest, reply->str, 41);
	freeReplyObject(reply);
}
