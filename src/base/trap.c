/* SPDX-License-Identifier: BSD-3-Clause
 * SIGSEGV and SIGBUS that a thread causes are delivered to that thread, so its jump buffer is found
 * in thread-local memory. A fault outside of beam_trap_run is passed on: the old handler is
 * restored, and the instruction faults once more. */
#include "trap.h"

#include <errno.h>
#include <setjmp.h>
#include <stddef.h>

static struct beam_traps outside;
static _Thread_local sigjmp_buf *volatile inside;

static void on_fault(int signal_number)
{
	if (inside)
		siglongjmp(*inside, 1);
	sigaction(SIGSEGV, &outside.segv, NULL);
	sigaction(SIGBUS, &outside.bus, NULL);
	(void)signal_number;
}

void beam_traps_set(struct beam_traps *before)
{
	struct sigaction action = {.sa_handler = on_fault};

	inside = NULL; /* allocates the thread's memory now, not in the handler */
	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, NULL, &outside.segv);
	sigaction(SIGBUS, NULL, &outside.bus);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	*before = outside;
}

void beam_traps_restore(const struct beam_traps *before)
{
	sigaction(SIGSEGV, &before->segv, NULL);
	sigaction(SIGBUS, &before->bus, NULL);
}

int beam_trap_run(int (*fn)(void *arg), void *arg)
{
	sigjmp_buf jump;
	int result;

	if (sigsetjmp(jump, 1)) {
		inside = NULL;
		return -EFAULT;
	}
	inside = &jump;
	result = fn(arg);
	inside = NULL;
	return result;
}
