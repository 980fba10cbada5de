/* SPDX-License-Identifier: BSD-3-Clause
 * Composes the command line and the environment of `rdbeam pull` from the server's settings, and
 * starts it. The process detaches itself; its stderr is a pipe to us. */
#include "pull_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command_names.h"
#include "config.h"
#include "log.h"
#include "program.h"
#include "rdbeam/error.h"
#include "snapshot_facts.h"
#include "sockets.h"

#define VALUE_BYTES 560
#define ADDED       4 /* variables added to the environment */

struct call {
	char program[PATH_MAX];
	char from[300], to[300], user[128];
	char texts[ADDED][VALUE_BYTES]; /* NAME=value */
	const char *argv[12];
	char **env;
};

static void sibling(const char *path, char *out, size_t cap)
{
	const char *slash = strrchr(path, '/');

	snprintf(out, cap, "%.*srdbeam", slash ? (int)(slash - path + 1) : 0, path);
}

/* Looks beside the daemon's configured path, beside the file that it resolves to, and where this
 * build installs it. */
static void find_program(char *out, size_t cap)
{
	char daemon[512];

	beam_config_daemon_path(daemon, sizeof(daemon));
	sibling(daemon, out, cap);
	if (access(out, X_OK) == 0)
		return;
	char real[PATH_MAX];

	if (realpath(daemon, real))
		sibling(real, out, cap);
	if (access(out, X_OK))
		snprintf(out, cap, "%s", RDBEAM_CLI_PATH);
}

static void with_port(char *out, size_t cap, const char *host, long long port)
{
	snprintf(out, cap, strchr(host, ':') ? "[%s]:%lld" : "%s:%lld", host, port);
}

/* True if the server's `bind` includes 127.0.0.1 or all IPv4 addresses ("*"). */
static bool has_loopback4(const char *bind)
{
	for (const char *at = bind; *at; at += strspn(at, " ")) {
		at += *at == '-';
		size_t len = strcspn(at, " ");

		if ((len == 1 && *at == '*') ||
		    (len == strlen("127.0.0.1") && strncmp(at, "127.0.0.1", len) == 0))
			return true;
		at += len;
	}
	return !bind[0];
}

/* Writes the path of the server's unix socket, or "". A relative path is below `dir`, the server's
 * working directory. */
static void socket_path(RedisModuleCtx *ctx, char *out, size_t cap)
{
	char path[256], dir[PATH_MAX] = "";

	beam_config_get(ctx, "unixsocket", path, sizeof(path));
	if (path[0] && path[0] != '/' && !getcwd(dir, sizeof(dir)))
		path[0] = 0;
	snprintf(out, cap, "%s%s%s", dir, dir[0] ? "/" : "", path);
}

/* Writes the address by which this host reaches the server. Returns 0, or -ENOENT if only TLS is
 * possible. */
static int own_address(RedisModuleCtx *ctx, char *out, size_t cap)
{
	char bind[256], port[16];

	beam_config_get(ctx, "port", port, sizeof(port));
	bool has_port = strtoll(port, NULL, 10) != 0;

	socket_path(ctx, out, cap);
	/* The socket is not at a relative path any more if `dir` was changed. */
	if (out[0] && (!has_port || access(out, W_OK) == 0))
		return 0;
	if (!has_port)
		return -ENOENT;
	beam_config_get(ctx, "bind", bind, sizeof(bind));
	bool by_4 = has_loopback4(bind);
	char *first = bind + (bind[0] == '-');

	first[strcspn(first, " ")] = 0;
	if (strcmp(first, "::*") == 0)
		strcpy(first, "::1");
	with_port(out, cap, by_4 ? "127.0.0.1" : first, strtoll(port, NULL, 10));
	return 0;
}

static void add_secret(RedisModuleCtx *ctx, const char *config, const char *name, char *out)
{
	char value[512];

	beam_config_get(ctx, config, value, sizeof(value));
	if (value[0])
		snprintf(out, VALUE_BYTES, "%s=%s", name, value);
	explicit_bzero(value, sizeof(value));
}

/* Only CONFIG: the pull does not call REPLICAOF, RDBEAM.FOLLOW does. */
static void add_renamed(char *out)
{
	const char *config = beam_command("CONFIG");

	if (strcasecmp(config, "CONFIG") != 0 && config[0] && !strchr(config, ' '))
		snprintf(out, VALUE_BYTES, "RDBEAM_RENAMED=CONFIG=%s", config);
}

static int make_environment(struct call *call)
{
	char **inherited = beam_program_environment();
	size_t n = 0, kept = 0;

	while (inherited[n])
		n++;
	call->env = calloc(n + ADDED + 1, sizeof(*call->env));
	if (!call->env)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		call->env[kept++] = inherited[i];
	for (size_t i = 0; i < ADDED; i++)
		if (call->texts[i][0])
			call->env[kept++] = call->texts[i];
	return 0;
}

static int make_call(RedisModuleCtx *ctx, const char *host, long long port, const char *id,
		     struct call *call)
{
	char tls[8];
	int n = 0;

	beam_config_get(ctx, "tls-replication", tls, sizeof(tls));
	if (strcmp(tls, "yes") == 0 || own_address(ctx, call->to, sizeof(call->to))) {
		beam_log(BEAM_LOG_NOTICE, "auto-pull: not possible with tls-replication, with "
					  "CONFIG hidden by rename-command, or without a plaintext "
					  "port or a unixsocket; the server's own sync continues");
		return BEAM_E_UNSUPPORTED;
	}
	find_program(call->program, sizeof(call->program));
	with_port(call->from, sizeof(call->from), host, port);
	beam_config_get(ctx, "masteruser", call->user, sizeof(call->user));
	const char *argv[] = {call->program, "pull",   "--from",  call->from,
			      "--to",        call->to, "--force", "--quiet"};

	for (; n < (int)(sizeof(argv) / sizeof(argv[0])); n++)
		call->argv[n] = argv[n];
	if (call->user[0]) {
		call->argv[n++] = "--from-user";
		call->argv[n++] = call->user;
	}
	add_secret(ctx, "masterauth", "RDBEAM_FROM_PASS", call->texts[0]);
	add_secret(ctx, "requirepass", "RDBEAM_TO_PASS", call->texts[1]);
	snprintf(call->texts[2], VALUE_BYTES, "RDBEAM_PULL_ID=%s", id);
	add_renamed(call->texts[3]);
	return make_environment(call);
}

static int spawn(struct call *call, int stderr_fd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1);
	posix_spawn_file_actions_adddup2(&actions, stderr_fd, 2);
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int err = posix_spawn(&pid, call->program, &actions, &attr, (char **)(uintptr_t)call->argv,
			      call->env);

	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		return -err;
	/* The pull detaches at once. The server may have reaped the process, which is fine. */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	return 0;
}

int beam_pull_process_start(RedisModuleCtx *ctx, const char *host, long long port,
			    struct beam_pull_process *out)
{
	struct beam_pull_process process = {.fd = -1};
	struct call *call = calloc(1, sizeof(*call));
	uint8_t random[16];
	int fds[2];

	if (!call)
		return -ENOMEM;
	beam_random(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(process.id + 2 * i, 3, "%02x", random[i]);
	int rc = make_call(ctx, host, port, process.id, call);

	if (!rc && pipe2(fds, O_CLOEXEC))
		rc = -errno;
	if (rc && rc != BEAM_E_UNSUPPORTED) {
		beam_log(BEAM_LOG_WARNING,
			 "auto-pull: cannot be started: %s; the server's own sync continues",
			 beam_strerror(rc));
	} else if (!rc) {
		rc = spawn(call, fds[1]);
		close(fds[1]);
		if (rc) {
			beam_log(BEAM_LOG_WARNING,
				 "auto-pull: cannot run %s: %s; install rdbeam there, and where "
				 "the server's unit has NoExecPaths, name it in ExecPaths",
				 call->program, beam_strerror(rc));
			close(fds[0]);
		}
	}
	if (!rc) {
		fcntl(fds[0], F_SETFL, O_NONBLOCK);
		process.fd = fds[0];
		*out = process;
		beam_log(BEAM_LOG_NOTICE, "auto-pull: from %s to %s", call->from, call->to);
	}
	free(call->env);
	explicit_bzero(call, sizeof(*call));
	free(call);
	return rc;
}

void beam_pull_process_kill(const struct beam_pull_process *process)
{
	if (process->pid > 0)
		kill(process->pid, SIGTERM);
}

void beam_pull_process_close(struct beam_pull_process *process)
{
	beam_close(&process->fd);
	process->pid = 0;
	process->id[0] = 0;
}
