/* SPDX-License-Identifier: BSD-3-Clause
 * SIGSEGV and SIGBUS of a thread's own doing arrive in that thread, so its jump is found in
 * thread-local memory. A fault outside of any run is handed back: the old handler is put in and the
 * instruction faults once more. */
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

	inside = NULL; /* touches the thread's memory now, and not first in the handler */
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
