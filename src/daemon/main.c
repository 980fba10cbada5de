/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeamd: started by rdbeam.so with two sockets. It owns the shared-memory region and performs the
 * disk and network I/O for snapshots, and it ends with its server. Run as `rdbeamd --wait` it is
 * the waiter, as `rdbeamd --test-thp` the self-test of rdbeam.fork-thp.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "fault.h"
#include "help.h"
#include "log.h"
#include "rdbeam/error.h"
#include "rdbeam/version.h"
#include "schedule.h"
#include "sockets.h"
#include "thp_test.h"
#include "waiter.h"

static struct daemon daemon_state;

static bool is_packet_socket(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}

/* SIGTERM: a service manager sends it to the whole unit when the server is to stop. The server gets
 * it, too, and needs us until it has ended. After that exit at once, whatever the loop is doing. */
static void end_after_server(int signal_number)
{
	int saved_errno = errno;
	struct pollfd server = {.fd = daemon_state.server_pidfd, .events = POLLIN};

	(void)signal_number;
	if (server.fd < 0 || poll(&server, 1, 0) != 0)
		_exit(0);
	errno = saved_errno;
}

/* Detaches from the server. Redis and its test tools look for children of the server by their
 * parent's pid, and must not find the daemon. So it forks once, before it owns anything, and the
 * module reaps the process in between. Things that are tried once for the daemon's whole life are
 * tried before that. If there is no process to be had, the module starts another daemon later. */
static void leave_server(void)
{
	int may_schedule = beam_may_schedule();
	int err = may_schedule < 0 ? may_schedule : beam_disk_try();
	pid_t pid = err ? -1 : fork();

	if (pid < 0) {
		fprintf(stderr, "rdbeamd: fork: %s\n", strerror(err ? -err : errno));
		exit(1);
	}
	if (pid > 0)
		_exit(may_schedule ? 0 : BEAM_EXIT_FIXED);
	setsid();
}

/* Makes the OOM killer take the daemon before the server, which can go on without it: what the
 * daemon holds can be made again. Must precede PR_SET_DUMPABLE, which makes root the owner of our
 * /proc files. */
static void die_first(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1000", 4) < 0)
		beam_log(BEAM_LOG_INFO, "oom_score_adj stays: %s", strerror(errno));
	beam_close(&fd);
}

static void prepare_process(void)
{
	struct sigaction on_term = {.sa_handler = end_after_server, .sa_flags = SA_RESTART};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	sigaction(SIGTERM, &on_term, NULL);
	die_first();
	prctl(PR_SET_DUMPABLE, 0);
	/* Undo the server's disable-thp, which is inherited, but is about the server's own heap. */
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "rdbeamd");
	close_range(BEAM_FD_LISTEN + 1, ~0u, 0);
	if (chdir("/"))
		beam_log(BEAM_LOG_INFO, "chdir to /: %s", strerror(errno));
	/* Each extent is a file, and the kernel also counts fds in flight to writers against the
	 * limit. */
	beam_allow_files();
}

static int run(struct daemon *d)
{
	int err;

	d->control = BEAM_FD_CONTROL;
	d->listen = BEAM_FD_LISTEN;
	err = beam_loop_open(&d->loop);
	if (!err)
		err = signing_open(d);
	if (!err)
		err = control_open(d);
	if (!err)
		err = writers_listen(d);
	if (!err)
		err = BEAM_FAULT("daemon.start");
	if (!err)
		err = beam_loop_run(d->loop);
	if (err)
		fprintf(stderr, "rdbeamd: %s\n", beam_strerror(err));
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--wait"))
		return waiter_main(argc - 2, argv + 2);
	if (argc > 1 && !strcmp(argv[1], "--test-thp"))
		return thp_test_main();
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("rdbeamd %s\n", RDBEAM_VERSION);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--help")) {
		help_print(stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--man")) {
		help_man(stdout);
		return 0;
	}
	if (argc > 1) {
		fprintf(stderr, "rdbeamd: unknown argument '%s': see rdbeamd --help\n", argv[1]);
		return 2;
	}
	if (!is_packet_socket(BEAM_FD_CONTROL) || !is_packet_socket(BEAM_FD_LISTEN)) {
		fputs("rdbeamd: not started by hand, but by rdbeam.so inside redis-server: put "
		      "'loadmodule /path/to/rdbeam.so' into the server's configuration file\n",
		      stderr);
		return 2;
	}
	leave_server();
	daemon_state.server_pidfd = -1;
	prepare_process();
	/* Let the kernel clean up: a disk that hangs must not keep the daemon alive after its
	 * server. */
	return run(&daemon_state);
}
