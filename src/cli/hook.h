/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command of snapshot --hook: run by the shell, beside the program, which goes on following the
 * save. At most one runs at a time. One thread.
 */
#ifndef BEAM_HOOK_H
#define BEAM_HOOK_H

#include <stdbool.h>
#include <sys/types.h>

struct beam_hook {
	const char *command; /* NULL: nothing is ever run */
	bool to_stderr;      /* its standard output goes where errors go: ours is for JSON */
	pid_t pid;           /* 0: none runs */
	int failed;          /* status of the last one that did not exit with 0; else 0 */
};

/* Waits for the hook before, sets name=value pairs (NULL ends them) in its environment, starts it.
 * 0 or -errno. */
int beam_hook_start(struct beam_hook *hook, const char *const *names, const char *const *values);

/* Waits for the hook that runs, if any. Sets `failed`: its exit status, or 128 + signal. */
void beam_hook_wait(struct beam_hook *hook);

#endif
