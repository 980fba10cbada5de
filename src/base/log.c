/* SPDX-License-Identifier: BSD-3-Clause
 * The process's log sink. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static beam_log_sink *process_sink;
static void *process_sink_arg;
static enum beam_log_level process_least = BEAM_LOG_NOTICE;

void beam_log_init(beam_log_sink *sink, void *arg, enum beam_log_level least)
{
	process_sink = sink;
	process_sink_arg = arg;
	process_least = least;
}

void beam_log(enum beam_log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char text[1024];
	va_list args;

	if (level < process_least)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (process_sink)
		process_sink(level, text, process_sink_arg);
	else
		fprintf(stderr, "rdbeam: %s\n", text);
	errno = saved_errno;
}
