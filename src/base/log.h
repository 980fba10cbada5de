/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One log function for all processes. The program decides where the lines go: the module passes
 * them to the server's log, the daemon to the module, the command line tool to stderr. An error is
 * logged once, where it occurs, with operation, object, sizes and errno. Secrets are never logged.
 */
#ifndef BEAM_LOG_H
#define BEAM_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum beam_log_level { BEAM_LOG_DEBUG, BEAM_LOG_INFO, BEAM_LOG_NOTICE, BEAM_LOG_WARNING };

typedef void beam_log_sink(enum beam_log_level level, const char *text, void *arg);

/* Sets the process's sink (NULL: stderr) and the least level that reaches it (default NOTICE). Call
 * it before threads start. The sink must be thread-safe if the program has threads. */
void beam_log_init(beam_log_sink *sink, void *arg, enum beam_log_level least);

/* Formats one line (without newline, truncated to 1 KiB) and passes it to the sink. Preserves
 * errno. Any thread. */
void beam_log(enum beam_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Limits lines that strangers can provoke, so that they cannot fill the disk. */
struct beam_log_limit {
	uint64_t since_ms;
	uint32_t said, left_out;
};

/* Whether one more line may be written: ten per minute. Also logs how many lines were suppressed
 * before. One thread. */
bool beam_log_may(struct beam_log_limit *limit);

#endif
