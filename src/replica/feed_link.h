/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The feed's end of the link to its target: sends bytes, parses incoming commands, and answers a
 * replica's handshake. Every wait ends early when the feed is told to stop. Used by the feed's
 * thread only.
 */
#ifndef BEAM_FEED_LINK_H
#define BEAM_FEED_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resp.h"

struct beam_feed_link {
	int sock; /* -1: not connected */
	int stop; /* readable when the feed must stop; owned by the feed */
	uint8_t in[BEAM_RESP_COMMAND_MAX];
	size_t in_bytes;
	bool must_auth;     /* refuse the payload to a target that did not send AUTH */
	bool authenticated; /* AUTH was received, with any password */
};

/* True when the feed was told to stop. */
bool beam_feed_link_stopped(struct beam_feed_link *link);

/* Waits for `events` on an fd. Returns 1, 0 after timeout_ms, BEAM_E_ABORTED when the feed is
 * stopped, or -errno. */
int beam_feed_link_wait(struct beam_feed_link *link, int fd, short events, int timeout_ms);

/* Sends all bytes unchanged. Returns 0, BEAM_E_GONE, BEAM_E_ABORTED, or -ETIMEDOUT when the target
 * has taken nothing for five minutes. */
int beam_feed_link_send(struct beam_feed_link *link, const void *data, size_t len);
/* The same for a NUL-terminated text. */
int beam_feed_link_text(struct beam_feed_link *link, const char *text);

/* Reads what has arrived, without waiting. Returns 0, or BEAM_E_GONE. */
int beam_feed_link_receive(struct beam_feed_link *link);

/* Parses the first command in the input buffer. Returns the number of bytes it occupies, 0 when it
 * is not complete yet, or BEAM_E_PROTO. Its arguments are valid until beam_feed_link_consume. */
int beam_feed_link_next(struct beam_feed_link *link, struct beam_resp_command *command);
/* Drops a parsed command of `used` bytes from the input buffer. */
void beam_feed_link_consume(struct beam_feed_link *link, int used);

/* Answers a replica's handshake, and its PSYNC with `answer_line`. Returns 0 once the target waits
 * for the payload, BEAM_E_DENIED when it must authenticate and did not, -ETIMEDOUT at deadline_ms
 * (beam_now_ms), or an error. */
int beam_feed_link_handshake(struct beam_feed_link *link, const char *answer_line,
			     uint64_t deadline_ms);

#endif
