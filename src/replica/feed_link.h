/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The feed's end of the link to its target: bytes out, commands in, and the handshake of a replica.
 * Every wait ends early when the feed is to stop. One thread, the feed's.
 */
#ifndef BEAM_FEED_LINK_H
#define BEAM_FEED_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resp.h"

struct beam_feed_link {
	int sock; /* -1: none */
	int stop; /* readable: end; the feed's */
	uint8_t in[BEAM_RESP_COMMAND_MAX];
	size_t in_bytes;
	bool must_auth;     /* who asks for the payload without AUTH gets none */
	bool authenticated; /* AUTH has come, whatever it said */
};

bool beam_feed_link_stopped(struct beam_feed_link *link);

/* Waits for `events` on an fd. 1, 0 after timeout_ms, BEAM_E_ABORTED, or -errno. */
int beam_feed_link_wait(struct beam_feed_link *link, int fd, short events, int timeout_ms);

/* Sends all bytes, as they lie. 0, BEAM_E_GONE, BEAM_E_ABORTED, -ETIMEDOUT when nothing was taken
 * for five minutes. */
int beam_feed_link_send(struct beam_feed_link *link, const void *data, size_t len);
int beam_feed_link_text(struct beam_feed_link *link, const char *text);

/* Reads what has come. 0, or BEAM_E_GONE. */
int beam_feed_link_receive(struct beam_feed_link *link);

/* The first command of what has come. The bytes it used, 0 when there is none yet, or BEAM_E_PROTO.
 * Its arguments are valid until it is consumed. */
int beam_feed_link_next(struct beam_feed_link *link, struct beam_resp_command *command);
void beam_feed_link_consume(struct beam_feed_link *link, int used);

/* Answers a replica until its PSYNC, and that with `answer_line`. 0 once the target waits for the
 * payload, BEAM_E_DENIED for one without the password that it must have, or an error. */
int beam_feed_link_handshake(struct beam_feed_link *link, const char *answer_line,
			     uint64_t deadline_ms);

#endif
