/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command of snapshot --hook: run by the shell, while this program goes on following the save.
 * At most one hook runs at a time. Single-threaded.
 */
#ifndef BEAM_HOOK_H
#define BEAM_HOOK_H

#include <stdbool.h>
#include <sys/types.h>

struct beam_hook {
	const char *command; /* NULL: no hook */
	/* Redirect its standard output to stderr, because ours is for JSON. */
	bool to_stderr;
	pid_t pid;  /* 0: none is running */
	int failed; /* status of the last one that did not exit with 0; else 0 */
};

/* Waits for the previous hook, then starts the hook with the given name=value pairs (NULL ends
 * them) in its environment. Returns 0 or -errno. */
int beam_hook_start(struct beam_hook *hook, const char *const *names, const char *const *values);

/* Waits for the running hook, if any. Sets `failed`: its exit status, or 128 + signal. */
void beam_hook_wait(struct beam_hook *hook);

#endif
