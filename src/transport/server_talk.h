/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The part of a server that does not depend on the transport: it finds out who the reader is,
 * checks its ticket, and makes the answer to its HELLO.
 */
#ifndef BEAM_SERVER_TALK_H
#define BEAM_SERVER_TALK_H

#include <sys/socket.h>

#include "server.h"

/* Converts an address to text. An IPv4-mapped IPv6 address is written as IPv4, as in tickets. */
void server_talk_peer(const struct sockaddr *addr, char text[BEAM_ADDR_BYTES]);

/* Handles a HELLO. `flags` are the HELLO flags that this transport supports. Returns 0 with *image
 * (one reference) and a WELCOME that proves the server's identity; or the code of a refusal with
 * its line in `text`, and *image NULL. */
int server_talk_hello(const struct beam_serve_images *images, const struct beam_wire_hello *hello,
		      const char *peer, uint16_t flags, struct beam_served **image,
		      struct beam_wire_welcome *welcome, char text[BEAM_TEXT_BYTES]);

#endif
