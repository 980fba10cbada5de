/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a pull tells its failure: the first error's one line, with the remedy, is kept for the
 * caller, and its code is returned. Later ones (of threads that fail because the first did) do not
 * replace it. */
#ifndef BEAM_TELL_H
#define BEAM_TELL_H

#include "redis.h"

/* Formats into `error` (BEAM_REDIS_ERROR_BYTES) unless it holds a line already. Returns `code`. */
int beam_tell(char *error, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
