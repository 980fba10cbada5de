/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands as a replica sends them to its primary: RESP arrays of bulk strings (source: Redis
 * 7.0.15 replication.c, sendCommand). The peer is not trusted: counts and lengths are capped far
 * above what the handshake needs and far below what could hurt. Pure functions.
 */
#ifndef BEAM_RESP_H
#define BEAM_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEAM_RESP_ARGS_MAX    16
#define BEAM_RESP_COMMAND_MAX 8192 /* bytes of one command; a password may be long */

struct beam_resp_command {
	int nargs;
	struct {
		const uint8_t *at; /* points into the caller's bytes */
		size_t len_bytes;
	} args[BEAM_RESP_ARGS_MAX];
};

/* Takes one command from buf. Returns the bytes it takes; 0 when more are needed; BEAM_E_PROTO on
 * anything that is not such an array, or one that is larger than the caps. */
int beam_resp_parse(const uint8_t *buf, size_t len_bytes, struct beam_resp_command *out);

/* True when argument `i` is there and equals `text`, upper and lower case alike. */
bool beam_resp_is(const struct beam_resp_command *command, int i, const char *text);

#endif
