/* SPDX-License-Identifier: BSD-3-Clause
 * Starts rdbeamd. The process spawned here exits at once, after the daemon has detached itself, and
 * is reaped, so that the server never gets a child that it does not know. Its exit status tells
 * whether processes may change their priority and CPU affinity here. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "ctl.h"
#include "fault.h"
#include "log.h"
#include "program.h"

#define LINKER_FAILED 127 /* exit status of a program that lacks a library, and of shells */

static void tell_fixed(void)
{
	static bool told;

	if (!told)
		beam_log(BEAM_LOG_NOTICE,
			 "copies keep the server's priority, and their threads are not bound to "
			 "processors: the filter of system calls kills processes that change these "
			 "(to allow it, in a systemd unit that has a filter: "
			 "SystemCallFilter=setpriority sched_setaffinity)");
	told = true;
}

static bool is_script(const char *path)
{
	char head[2] = "";
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return false;
	ssize_t n = read(fd, head, sizeof(head));

	close(fd);
	return n == sizeof(head) && memcmp(head, "#!", sizeof(head)) == 0;
}

/* The dynamic linker's own words, or a script's, go to stderr, which a server may have closed. */
static void tell_end(const char *path, int status, char *error, size_t cap)
{
	bool not_run = WIFEXITED(status) && WEXITSTATUS(status) == LINKER_FAILED;

	if (not_run && is_script(path))
		snprintf(
		    error, cap,
		    "rdbeam.daemon %s ended at once (status %d): what that script calls is not "
		    "there, or lacks a shared library",
		    path, LINKER_FAILED);
	else if (not_run)
		snprintf(error, cap, "rdbeam.daemon %s lacks a shared library: ldd says which",
			 path);
	else
		snprintf(error, cap, "rdbeam.daemon %s ended at once (%s %d)", path,
			 WIFEXITED(status) ? "status" : "signal",
			 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

int beam_start_daemon(int control, int listener, bool *may_schedule, char *error, size_t cap)
{
	char path[512], program[512];
	char *argv[] = {path, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int status;
	pid_t pid;

	beam_config_daemon_path(path, sizeof(path));
	beam_program_path(program, sizeof(program));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, control, BEAM_FD_CONTROL);
	posix_spawn_file_actions_adddup2(&actions, listener, BEAM_FD_LISTEN);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int err = -BEAM_FAULT("link.spawn");

	if (!err)
		err = posix_spawn(&pid, program, &actions, &attr, argv, beam_program_environment());

	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (err) {
		snprintf(error, cap, "cannot run rdbeam.daemon %s: %s; %s", path, strerror(err),
			 err == EAGAIN || err == ENOMEM
			     ? "it is tried again"
			     : "install rdbeamd there or set rdbeam.daemon");
		return -err;
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 0; /* the server has reaped it: fine */
	}
	*may_schedule = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (*may_schedule)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == BEAM_EXIT_FIXED) {
		tell_fixed();
		return 0;
	}
	tell_end(path, status, error, cap);
	return -ECHILD;
}
