/* SPDX-License-Identifier: BSD-3-Clause
 * The log sink of the process. */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "clock.h"
#include "text.h"

#define LINES_A_MINUTE 10

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
	beam_text_plain(text); /* parts of it may come from a peer */
	if (process_sink)
		process_sink(level, text, process_sink_arg);
	else
		fprintf(stderr, "rdbeam: %s\n", text);
	errno = saved_errno;
}

bool beam_log_may(struct beam_log_limit *limit)
{
	uint64_t now_ms = beam_now_ms();

	if (!limit->since_ms || now_ms - limit->since_ms >= 60000) {
		if (limit->left_out)
			beam_log(BEAM_LOG_WARNING,
				 "%" PRIu32 " more line%s like the next one suppressed",
				 limit->left_out, limit->left_out == 1 ? "" : "s");
		*limit = (struct beam_log_limit){.since_ms = now_ms};
	}
	if (limit->said == LINES_A_MINUTE) {
		limit->left_out++;
		return false;
	}
	limit->said++;
	return true;
}
