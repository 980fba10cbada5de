/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a pull reports failure: the line of the first error, with its remedy, is kept for the caller,
 * and its code is returned. Later errors (of threads that fail because the first one did) do not
 * replace it.
 */
#ifndef BEAM_TELL_H
#define BEAM_TELL_H

#include <stdbool.h>
#include <stddef.h>

#include "redis.h"

#define BEAM_REMEDY_BYTES 192

/* Formats a line into `error` (BEAM_REDIS_ERROR_BYTES) unless it already holds one. Returns
 * `code`. */
int beam_tell(char *error, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* True when a server's refusal means that it has no command of that name. */
bool beam_is_unknown_command(const char *refusal);

/* Writes the remedy for a refused command, in the form " (...)", to `out` of `cap` bytes: depending
 * on the refusal, either ACL rules that grant it or the hint that the command is renamed. Returns
 * `out`. */
const char *beam_remedy(const char *refusal, const char *rules, char *out, size_t cap);
/* The same for PSYNC, which is sent by no other name, as every replica does. */
const char *beam_psync_remedy(const char *refusal, char *out, size_t cap);

#endif
