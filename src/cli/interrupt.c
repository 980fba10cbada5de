/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Signal handlers; they use only functions that are safe in a signal handler.
 */
#include "interrupt.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define NSIGNALS (sizeof(signals) / sizeof(signals[0]))

static volatile sig_atomic_t interrupted;
static bool as_json, on_terminal; /* set before the handler is installed */

static void say(int fd, const char *text)
{
	/* The process is about to end, so there is nobody to report a failure to. */
	if (write(fd, text, strlen(text)) < 0)
		return;
}

static void tell_and_end(int number)
{
	say(STDERR_FILENO, on_terminal ? "\nrdbeam: interrupted\n" : "rdbeam: interrupted\n");
	if (as_json)
		say(STDOUT_FILENO, "{\"error\":\"interrupted\",\"code\":\"ABORTED\"}\n");
	raise(number); /* with SA_RESETHAND this ends the process when the handler returns */
}

static void note(int number)
{
	(void)number;
	interrupted = 1;
}

/* Signals that the caller ignores (nohup) stay ignored. */
static void handle(void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < NSIGNALS; i++)
		if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
}

void beam_interrupt_init(const struct beam_common *common)
{
	as_json = common->json;
	on_terminal = isatty(STDERR_FILENO) == 1;
	handle(tell_and_end, (int)SA_RESETHAND);
}

void beam_interrupt_is_the_end(void)
{
	handle(note, 0);
}

bool beam_interrupted(void)
{
	return interrupted;
}
