/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Keeps the line of the first failure.
 */
#include "tell.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

int beam_tell(char *error, int code, const char *fmt, ...)
{
	va_list args;

	if (error[0])
		return code;
	va_start(args, fmt);
	vsnprintf(error, BEAM_REDIS_ERROR_BYTES, fmt, args);
	va_end(args);
	beam_text_plain(error); /* it may contain text from a server */
	return code;
}

bool beam_is_unknown_command(const char *refusal)
{
	return strncmp(refusal, "ERR unknown command", strlen("ERR unknown command")) == 0;
}

const char *beam_remedy(const char *refusal, const char *rules, char *out, size_t cap)
{
	if (beam_is_unknown_command(refusal))
		snprintf(out, cap,
			 " (rename-command in that server's configuration hides it: give its name "
			 "there in "
			 "the environment, RDBEAM_RENAMED)");
	else
		snprintf(out, cap, " (grant it: ACL SETUSER <user> %s)", rules);
	return out;
}

const char *beam_psync_remedy(const char *refusal, char *out, size_t cap)
{
	if (!beam_is_unknown_command(refusal))
		return beam_remedy(refusal, "+psync +replconf", out, cap);
	snprintf(
	    out, cap,
	    " (rename-command in that server's configuration hides PSYNC, so that no replica can "
	    "follow it: take the line out there)");
	return out;
}
