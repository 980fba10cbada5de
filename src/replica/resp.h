/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parses commands as a replica sends them to its primary: RESP arrays of bulk strings (source:
 * Redis 7.0.15 replication.c, sendCommand). The peer is not trusted: counts and lengths are limited
 * to far more than the handshake needs and far less than could do harm. Pure functions.
 */
#ifndef BEAM_RESP_H
#define BEAM_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEAM_RESP_ARGS_MAX    16
#define BEAM_RESP_COMMAND_MAX 8192 /* bytes of a command; passwords may be long */

struct beam_resp_command {
	int nargs;
	struct {
		const uint8_t *at; /* points into the caller's buffer */
		size_t len_bytes;
	} args[BEAM_RESP_ARGS_MAX];
};

/* Parses one command at the start of buf. Returns the number of bytes it occupies; 0 when more
 * bytes are needed; BEAM_E_PROTO for anything that is not such an array or exceeds the limits. */
int beam_resp_parse(const uint8_t *buf, size_t len_bytes, struct beam_resp_command *out);

/* True when argument `i` exists and equals `text`, ignoring case. */
bool beam_resp_is(const struct beam_resp_command *command, int i, const char *text);

#endif
