/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every server does with a reader's first words, whatever carries them: who it is, whether its
 * ticket is good, and what it is told.
 */
#ifndef BEAM_SERVER_TALK_H
#define BEAM_SERVER_TALK_H

#include <sys/socket.h>

#include "server.h"

/* Address as text; one that came as IPv4 within IPv6 is told as IPv4, as tickets have it. */
void server_talk_peer(const struct sockaddr *addr, char text[BEAM_ADDR_BYTES]);

/* `flags`: those of HELLO that this transport knows. 0 with *image (one reference) and a WELCOME that proves the server; or the code of a refusal with
 * its line in `text`, and *image NULL. */
int server_talk_hello(const struct beam_serve_images *images, const struct beam_wire_hello *hello,
		      const char *peer, uint16_t flags, struct beam_served **image,
		      struct beam_wire_welcome *welcome, char text[BEAM_TEXT_BYTES]);

#endif
