/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a pull tells its failure: the first error's one line, with the remedy, is kept for the
 * caller, and its code is returned. Later ones (of threads that fail because the first did) do not
 * replace it. */
#ifndef BEAM_TELL_H
#define BEAM_TELL_H

#include <stdbool.h>
#include <stddef.h>

#include "redis.h"

#define BEAM_REMEDY_BYTES 192

/* Formats into `error` (BEAM_REDIS_ERROR_BYTES) unless it holds a line already. Returns `code`. */
int beam_tell(char *error, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Whether a server's refusal says that it does not have the command (by that name). */
bool beam_is_unknown_command(const char *refusal);

/* The remedy for a command that a server refused, " (...)", in `out` of `cap` bytes: ACL rules that grant it, or the word
 * that it is renamed, by what the server has said. Returns `out`. */
const char *beam_remedy(const char *refusal, const char *rules, char *out, size_t cap);

#endif
