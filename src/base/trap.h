/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A memory fault in code that reads memory by assumption, turned into an error. Only for code that
 * holds no lock and owns nothing that others need while it reads: it is left by a jump.
 */
#ifndef BEAM_TRAP_H
#define BEAM_TRAP_H

#include <signal.h>

/* The handlers that were there before. */
struct beam_traps {
	struct sigaction segv, bus;
};

/* From here on beam_trap_run works, in every thread of the process; faults outside of it go where
 * they went before. Handlers are the process's: one at a time. */
void beam_traps_set(struct beam_traps *before);
void beam_traps_restore(const struct beam_traps *before);

/* Runs fn(arg) and returns what it returns, or -EFAULT when it touched memory that is not there. Not
 * nested. */
int beam_trap_run(int (*fn)(void *arg), void *arg);

#endif
