/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeamd: started by rdbeam.so with two sockets, it owns the region, the disk's and the network's
 * side of snapshots, and ends with its server. Called as `rdbeamd --wait` it is the waiter,
 * as `rdbeamd --test-thp` the test of rdbeam.fork-thp.
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

/* A service manager tells the whole unit when its server is to end. The server hears that, too, and needs us
 * until it has ended: then there is nobody to go on for, whatever the loop is at. */
static void end_after_server(int signal_number)
{
	int saved_errno = errno;
	struct pollfd server = {.fd = daemon_state.server_pidfd, .events = POLLIN};

	(void)signal_number;
	if (server.fd < 0 || poll(&server, 1, 0) != 0)
		_exit(0);
	errno = saved_errno;
}

/* Redis and its test tools look for children of the server by their parent's pid: the daemon is to
 * be none. So it forks once, before it owns anything, and the module reaps the process between, and starts
 * another one later if no process could be had here: what is tried by one is known for all of a daemon's life. */
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

/* Where memory has run out, the daemon is to die before the server, which goes on without it: what it holds
 * can be had again. Before PR_SET_DUMPABLE, by which its files below /proc become root's. */
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
	/* Of the server's disable-thp, which is about its own heap and is inherited. */
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "rdbeamd");
	close_range(BEAM_FD_LISTEN + 1, ~0u, 0);
	if (chdir("/"))
		beam_log(BEAM_LOG_INFO, "chdir to /: %s", strerror(errno));
	/* Each extent is a file, and the kernel counts files under way to writers against this. */
	beam_allow_files();
}

static int run(struct daemon *d)
{
	int err;

	d->control = BEAM_FD_CONTROL;
	d->listen = BEAM_FD_LISTEN;
	beam_random(&d->nonce, sizeof(d->nonce));
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
	/* What the daemon holds at its end is left to the kernel: a disk that hangs must not keep
	 * it alive after its server. */
	return run(&daemon_state);
}
