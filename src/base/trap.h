/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Turns memory faults into errors, for code that reads memory by assumption. Such code is left by a
 * jump, so it must not hold a lock, or own anything that others need, while it reads.
 */
#ifndef BEAM_TRAP_H
#define BEAM_TRAP_H

#include <signal.h>

/* The handlers that were installed before. */
struct beam_traps {
	struct sigaction segv, bus;
};

/* Installs handlers for SIGSEGV and SIGBUS. From then on beam_trap_run works in every thread of the
 * process; other faults go to the old handlers. Handlers belong to the process: only one user at a
 * time. */
void beam_traps_set(struct beam_traps *before);
/* Installs the old handlers again. */
void beam_traps_restore(const struct beam_traps *before);

/* Runs fn(arg) and returns its result, or -EFAULT if it accessed memory that does not exist. Must
 * not be nested. */
int beam_trap_run(int (*fn)(void *arg), void *arg);

#endif
