/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A small RESP command parser.
 */
#include "resp.h"

#include <string.h>
#include <strings.h>

#include "rdbeam/error.h"

#define NUMBER_DIGITS_MAX 6

/* Reads "<lead><digits>\r\n" at *pos. Returns 1 with *pos advanced, 0 when bytes are missing, or
 * BEAM_E_PROTO. */
static int parse_number(const uint8_t *buf, size_t len_bytes, size_t *pos, uint8_t lead,
			uint32_t *value)
{
	size_t at = *pos;
	uint32_t n = 0;
	int digits = 0;

	if (at >= len_bytes)
		return 0;
	if (buf[at++] != lead)
		return BEAM_E_PROTO;
	for (; at < len_bytes && buf[at] >= '0' && buf[at] <= '9'; at++) {
		if (++digits > NUMBER_DIGITS_MAX)
			return BEAM_E_PROTO;
		n = n * 10 + (uint32_t)(buf[at] - '0');
	}
	if (at < len_bytes && (!digits || buf[at] != '\r'))
		return BEAM_E_PROTO;
	if (at + 1 < len_bytes && buf[at + 1] != '\n')
		return BEAM_E_PROTO;
	if (at + 2 > len_bytes)
		return 0;
	*pos = at + 2;
	*value = n;
	return 1;
}

int beam_resp_parse(const uint8_t *buf, size_t len_bytes, struct beam_resp_command *out)
{
	size_t pos = 0;
	uint32_t nargs, len;
	int rc = parse_number(buf, len_bytes, &pos, '*', &nargs);

	if (rc <= 0)
		return rc;
	if (nargs < 1 || nargs > BEAM_RESP_ARGS_MAX)
		return BEAM_E_PROTO;
	for (uint32_t i = 0; i < nargs; i++) {
		rc = parse_number(buf, len_bytes, &pos, '$', &len);
		if (rc <= 0)
			return rc;
		if (len > BEAM_RESP_COMMAND_MAX || pos + len + 2 > BEAM_RESP_COMMAND_MAX)
			return BEAM_E_PROTO;
		if (len_bytes - pos < (size_t)len + 2)
			return 0;
		if (buf[pos + len] != '\r' || buf[pos + len + 1] != '\n')
			return BEAM_E_PROTO;
		out->args[i].at = buf + pos;
		out->args[i].len_bytes = len;
		pos += len + 2;
	}
	out->nargs = (int)nargs;
	return (int)pos;
}

bool beam_resp_is(const struct beam_resp_command *command, int i, const char *text)
{
	size_t len = strlen(text);

	return i < command->nargs && command->args[i].len_bytes == len &&
	       strncasecmp((const char *)command->args[i].at, text, len) == 0;
}
