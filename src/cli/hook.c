/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs a hook with posix_spawn, so there is no fork of our own. The hook gets our environment plus
 * the given variables.
 */
#include "hook.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void beam_hook_wait(struct beam_hook *hook)
{
	int status;

	if (hook->pid == 0)
		return;
	while (waitpid(hook->pid, &status, 0) < 0) {
		if (errno != EINTR) {
			status = 0;
			break;
		}
	}
	hook->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		hook->failed = WEXITSTATUS(status);
	else if (WIFSIGNALED(status))
		hook->failed = 128 + WTERMSIG(status);
}

/* SIGPIPE is ignored in this program, and would stay so in the hook, which does not expect that. */
static int set_signals(posix_spawnattr_t *attr)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	if (posix_spawnattr_setsigdefault(attr, &set) != 0)
		return -EINVAL;
	return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF) ? -EINVAL : 0;
}

int beam_hook_start(struct beam_hook *hook, const char *const *names, const char *const *values)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)hook->command, NULL};
	int code;

	if (!hook->command)
		return 0;
	beam_hook_wait(hook);
	for (size_t i = 0; names[i]; i++) {
		if (setenv(names[i], values[i], 1) != 0)
			return -errno;
	}
	code = -posix_spawn_file_actions_init(&actions);
	if (code != 0)
		return code;
	code = -posix_spawnattr_init(&attr);
	if (code != 0)
		goto out_actions;
	code = set_signals(&attr);
	if (code == 0 && hook->to_stderr)
		code = -posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (code == 0)
		code = -posix_spawn(&hook->pid, "/bin/sh", &actions, &attr, argv, environ);
	if (code != 0)
		hook->pid = 0;
	posix_spawnattr_destroy(&attr);
out_actions:
	posix_spawn_file_actions_destroy(&actions);
	return code;
}
