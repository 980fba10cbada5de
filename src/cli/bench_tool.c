/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Forks and watches the process that fills a replica.
 */
#include "bench_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "redis.h"
#include "sockets.h"

#define SAID_MAX     65536
#define REPLY_MS     60000
#define LOOK_AT_KEYS 1024 /* between looks at the clock */

static double cpu_ms(const struct rusage *use)
{
	return (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1000 +
	       (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec) / 1000;
}

bool beam_tool_ended(struct beam_tool *tool)
{
	struct rusage use;

	if (tool->pid <= 0)
		return true;
	if (wait4(tool->pid, &tool->status, WNOHANG, &use) != tool->pid)
		return false;
	tool->pid = 0;
	tool->cpu_ms = cpu_ms(&use);
	return true;
}

void beam_tool_stop(struct beam_tool *tool)
{
	if (beam_tool_ended(tool))
		return;
	kill(tool->pid, SIGKILL);
	waitpid(tool->pid, &tool->status, 0);
	tool->pid = 0;
}

cJSON *beam_tool_said(const struct beam_tool *tool)
{
	char *text = calloc(1, SAID_MAX);
	int fd = open(tool->out, O_RDONLY | O_CLOEXEC);
	ssize_t n = text && fd >= 0 ? read(fd, text, SAID_MAX - 1) : -1;
	const char *at = n > 0 ? strchr(text, '{') : NULL;
	cJSON *said = at ? cJSON_Parse(at) : NULL;

	beam_close(&fd);
	free(text);
	return said;
}

/* ---- processes ---------------------------------------------------------------------------- */

/* In the child: redirects output to its file, and makes it die with the parent. */
static void become_tool(const struct beam_tool *tool, pid_t parent)
{
	int out = open(tool->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || out < 0 || null < 0)
		_exit(1);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	setpgid(0, 0);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
}

/* Forks. Returns 1 in the child, 0 in the parent, or -errno. */
static int start(const char *dir, struct beam_tool *tool)
{
	pid_t parent = getpid();

	memset(tool, 0, sizeof(*tool));
	if (snprintf(tool->out, sizeof(tool->out), "%s/tool.out", dir) >= PATH_MAX)
		return -ENAMETOOLONG;
	fflush(NULL);
	tool->pid = fork();
	if (tool->pid < 0) {
		tool->pid = 0;
		return -errno;
	}
	if (tool->pid > 0)
		return 0;
	become_tool(tool, parent);
	return 1;
}

int beam_tool_run(const char *const argv[], const char *dir, struct beam_tool *tool)
{
	int rc = start(dir, tool);

	if (rc <= 0)
		return rc;
	execv("/proc/self/exe", (char *const *)argv);
	perror("exec");
	_exit(1);
}

/* ---- the loop ----------------------------------------------------------------------------- */

static int copy_key(struct beam_redis *from, struct beam_redis *to, const char *key)
{
	redisReply *reply = NULL;
	int rc = beam_redis_command(from, &reply, "GET %s", key);

	if (!rc && reply->type == REDIS_REPLY_STRING)
		rc = beam_redis_command(to, NULL, "SET %s %b", key, reply->str, (size_t)reply->len);
	if (reply)
		freeReplyObject(reply);
	return rc;
}

static int copy_part(const struct beam_bench_part *part, int64_t scale, struct beam_redis *from,
		     struct beam_redis *to, uint64_t deadline_ms)
{
	int64_t keys = beam_bench_part_keys(part, scale);
	char key[64];
	int rc = 0;

	for (int64_t i = 0; i < keys && !rc; i++) {
		snprintf(key, sizeof(key), "%s%lld", part->prefix, (long long)i);
		rc = copy_key(from, to, key);
		if (i % LOOK_AT_KEYS == 0 && beam_now_ms() >= deadline_ms)
			return BEAM_TOOL_GAVE_UP;
	}
	return rc ? 1 : 0;
}

_Noreturn static void loop(const struct beam_bench_data *data, int64_t scale, int from_port,
			   int to_port, int limit_ms)
{
	struct beam_redis_addr addr = {.host = "127.0.0.1", .port = (uint32_t)from_port};
	uint64_t deadline_ms = beam_now_ms() + (uint64_t)limit_ms;
	char error[BEAM_REDIS_ERROR_BYTES];
	struct beam_redis *from, *to;
	int status = 0;

	if (beam_redis_open(&addr, REPLY_MS, error, &from))
		_exit(1);
	addr.port = (uint32_t)to_port;
	if (beam_redis_open(&addr, REPLY_MS, error, &to))
		_exit(1);
	for (size_t i = 0; i < data->nparts && !status; i++)
		status = copy_part(&data->parts[i], scale, from, to, deadline_ms);
	_exit(status);
}

int beam_tool_loop(const struct beam_bench_data *data, int64_t scale, int from_port, int to_port,
		   int limit_ms, const char *dir, struct beam_tool *tool)
{
	int rc = start(dir, tool);

	if (rc <= 0)
		return rc;
	loop(data, scale, from_port, to_port, limit_ms);
}
