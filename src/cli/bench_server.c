/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Starts and stops the benchmarks' servers. A pipe that is closed by a successful exec reports a
 * failed one.
 */
#include "bench_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define START_MS      20000
#define STOP_MS       10000
#define LOOK_EVERY_MS 10
#define REPLY_MS      60000 /* a fork or the end of a rehash can take long */
#define START_TRIES   3     /* somebody else may take a port that was free */
#define LOG_TAIL      400

/* ---- signals ------------------------------------------------------------------------------ */

static volatile sig_atomic_t running[BEAM_BENCH_SERVERS_MAX];
static volatile sig_atomic_t interrupted_by;

static void end_servers(int signo)
{
	int saved = errno;

	interrupted_by = signo;
	for (size_t i = 0; i < BEAM_BENCH_SERVERS_MAX; i++) {
		if (running[i] > 0)
			kill(running[i], SIGKILL);
	}
	errno = saved;
}

void beam_bench_catch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = end_servers};

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

int beam_bench_interrupted(void)
{
	return interrupted_by;
}

static void note_running(pid_t from, pid_t to)
{
	for (size_t i = 0; i < BEAM_BENCH_SERVERS_MAX; i++) {
		if (running[i] == from) {
			running[i] = to;
			return;
		}
	}
}

/* ---- the configuration -------------------------------------------------------------------- */

/* Writes `NAME "VALUE"`, quoted as in configuration files. */
static void put_quoted(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s \"", name);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			putc('\\', out);
		putc(*value, out);
	}
	fputs("\"\n", out);
}

static int write_config(const struct beam_bench_server_opts *opts, const int ports[2],
			const char *path, const char *log)
{
	FILE *out = fopen(path, "we");
	int err = 0;

	if (!out)
		return -errno;
	fprintf(out, "port %d\nbind 127.0.0.1\n", ports[0]);
	put_quoted(out, "dir", opts->dir);
	put_quoted(out, "logfile", log);
	fputs("save \"\"\nappendonly no\ndaemonize no\nenable-protected-configs yes\n"
	      "enable-debug-command yes\n",
	      out);
	fprintf(out, "rdbchecksum %s\n", opts->checksum ? "yes" : "no");
	if (opts->module) {
		put_quoted(out, "loadmodule", opts->module);
		fprintf(out, "rdbeam.transport %s\nrdbeam.port %d\n", opts->pulls ? "auto" : "off",
			ports[1]);
	}
	if (opts->config)
		put_quoted(out, "include", opts->config);
	if (ferror(out))
		err = -EIO;
	if (fclose(out) != 0 && !err)
		err = -errno;
	return err;
}

/* Finds two ports that are free at this moment. Returns 0 or -errno. */
static int free_ports(int ports[2])
{
	int socks[2] = {-1, -1}, err = 0;

	for (int i = 0; i < 2 && !err; i++) {
		struct sockaddr_in addr = {.sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof(addr);

		socks[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (socks[i] < 0 || bind(socks[i], (struct sockaddr *)&addr, sizeof(addr)) ||
		    getsockname(socks[i], (struct sockaddr *)&addr, &len))
			err = -errno;
		ports[i] = ntohs(addr.sin_port);
	}
	/* Keep the first one open until the second is chosen, so that they differ. */
	beam_close(&socks[0]);
	beam_close(&socks[1]);
	return err;
}

/* ---- the process -------------------------------------------------------------------------- */

/* Runs between fork and exec. */
static void become_server(const char *program, const char *config, pid_t parent, int tell)
{
	char *const argv[] = {(char *)program, (char *)config, NULL};
	int null = open("/dev/null", O_RDWR);
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_DFL);
	/* A terminal's ^C should reach only the benchmark, which then ends its servers itself. */
	setpgid(0, 0);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	execvp(program, argv);
	err = errno;
	(void)!write(tell, &err, sizeof(err));
	_exit(1);
}

static int spawn(const char *program, const char *config, pid_t *pid)
{
	pid_t parent = getpid();
	int told[2], err = 0;

	if (pipe2(told, O_CLOEXEC))
		return -errno;
	*pid = fork();
	if (*pid == 0)
		become_server(program, config, parent, told[1]);
	if (*pid < 0)
		err = -errno;
	beam_close(&told[1]);
	if (!err && beam_read_all(told[0], &err, sizeof(err)) == 0) {
		waitpid(*pid, NULL, 0);
		err = -err;
	}
	beam_close(&told[0]);
	return err;
}

static void pause_ms(int ms)
{
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	nanosleep(&pause, NULL);
}

static bool has_ended(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) != 0;
}

void beam_bench_server_stop(struct beam_bench_server *server)
{
	uint64_t deadline = beam_now_ms() + STOP_MS;

	beam_redis_close(&server->redis);
	if (server->pid <= 0)
		return;
	kill(server->pid, SIGTERM);
	while (!has_ended(server->pid)) {
		if (beam_now_ms() >= deadline)
			kill(server->pid, SIGKILL);
		pause_ms(LOOK_EVERY_MS);
	}
	note_running(server->pid, 0);
	server->pid = 0;
}

/* ---- starting ----------------------------------------------------------------------------- */

/* Gets the last line of the server's log, which says why it ended. */
static void last_line(const char *path, char *out, size_t cap)
{
	char tail[LOG_TAIL + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	off_t from = end > LOG_TAIL ? end - LOG_TAIL : 0;
	ssize_t n = fd < 0 ? 0 : pread(fd, tail, LOG_TAIL, from);
	const char *line;

	beam_close(&fd);
	if (n < 0)
		n = 0;
	while (n > 0 && tail[n - 1] == '\n')
		n--;
	tail[n] = '\0';
	line = strrchr(tail, '\n');
	snprintf(out, cap, "%s", n == 0 ? "its log is empty" : line ? line + 1 : tail);
}

int beam_bench_server_connect(const struct beam_bench_server *server, char *error,
			      struct beam_redis **out)
{
	struct beam_redis_addr addr = {.host = "127.0.0.1", .port = (uint32_t)server->port};

	return beam_redis_open(&addr, REPLY_MS, error, out);
}

/* Checks that the server answers and its daemon is up. Returns 0, -EAGAIN, or an error with its
 * line. */
static int look(struct beam_bench_server *server, char *error)
{
	char state[16];

	if (!server->redis && beam_bench_server_connect(server, error, &server->redis) != 0)
		return -EAGAIN;
	if (!server->has_module)
		return 0;
	if (beam_redis_info(server->redis, "rdbeam", "rdbeam_daemon_state", state, sizeof(state)))
		return -EAGAIN;
	return strcmp(state, "up") == 0 ? 0 : -EAGAIN;
}

static int wait_ready(struct beam_bench_server *server, const char *program, const char *log,
		      char *error)
{
	uint64_t deadline = beam_now_ms() + START_MS;
	char line[LOG_TAIL + 1];
	int code;

	while ((code = look(server, error)) == -EAGAIN) {
		if (has_ended(server->pid)) {
			note_running(server->pid, 0);
			server->pid = 0;
			last_line(log, line, sizeof(line));
			snprintf(error, BEAM_REDIS_ERROR_BYTES,
				 "server ended at once: %s (%.300s): correct that", program, line);
			return BEAM_E_GONE;
		}
		if (beam_now_ms() >= deadline) {
			last_line(log, line, sizeof(line));
			snprintf(error, BEAM_REDIS_ERROR_BYTES,
				 "server or its rdbeamd does not answer: %s (%.300s): is rdbeamd "
				 "beside the module?",
				 program, line);
			return -ETIMEDOUT;
		}
		pause_ms(LOOK_EVERY_MS);
	}
	return code;
}

static int start_once(const struct beam_bench_server_opts *opts, char *error,
		      struct beam_bench_server *server)
{
	char config[PATH_MAX], log[PATH_MAX];
	int ports[2], code;

	memset(server, 0, sizeof(*server));
	snprintf(server->dir, sizeof(server->dir), "%s", opts->dir);
	if (snprintf(config, sizeof(config), "%s/server.conf", opts->dir) >= PATH_MAX ||
	    snprintf(log, sizeof(log), "%s/server.log", opts->dir) >= PATH_MAX) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "path too long: %.300s: give a shorter one",
			 opts->dir);
		return -ENAMETOOLONG;
	}
	server->has_module = opts->module != NULL;
	code = free_ports(ports);
	if (!code)
		code = write_config(opts, ports, config, log);
	server->port = ports[0];
	if (code) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "cannot prepare a server: %.300s (%s): look there", opts->dir,
			 beam_strerror(code));
		return code;
	}
	code = spawn(opts->program, config, &server->pid);
	if (code) {
		server->pid = 0;
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "cannot run: %.300s (%s): give the server by --server", opts->program,
			 beam_strerror(code));
		return code;
	}
	note_running(0, server->pid);
	code = wait_ready(server, opts->program, log, error);
	if (code)
		beam_bench_server_stop(server);
	return code;
}

int beam_bench_server_start(const struct beam_bench_server_opts *opts, char *error,
			    struct beam_bench_server *server)
{
	int code = BEAM_E_GONE;

	for (int i = 0; i < START_TRIES && code == BEAM_E_GONE && !interrupted_by; i++)
		code = start_once(opts, error, server);
	if (interrupted_by) {
		beam_bench_server_stop(server);
		return BEAM_E_GONE;
	}
	return code;
}

/* ---- directories -------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	remove(path);
	return 0;
}

void beam_bench_remove(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
