/* SPDX-License-Identifier: BSD-3-Clause
 * The first failure's line. */
#include "tell.h"

#include <stdarg.h>
#include <stdio.h>

#include "text.h"

int beam_tell(char *error, int code, const char *fmt, ...)
{
	va_list args;

	if (error[0])
		return code;
	va_start(args, fmt);
	vsnprintf(error, BEAM_REDIS_ERROR_BYTES, fmt, args);
	va_end(args);
	beam_text_plain(error); /* a server's words may be in it */
	return code;
}
