/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The server's half of the protocol in wire.h, up to WELCOME.
 */
#include "server_talk.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "rdbeam/error.h"

void server_talk_peer(const struct sockaddr *addr, char text[BEAM_ADDR_BYTES])
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const void *bytes = &((const struct sockaddr_in *)addr)->sin_addr;
	int family = AF_INET;

	if (addr->sa_family == AF_INET6) {
		bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);

		bytes = in6->sin6_addr.s6_addr + (mapped ? 12 : 0);
		family = mapped ? AF_INET : AF_INET6;
	}
	if (!inet_ntop(family, bytes, text, BEAM_ADDR_BYTES))
		snprintf(text, BEAM_ADDR_BYTES, "?");
}

static const char *refusal(int code)
{
	switch (code) {
	case BEAM_E_DENIED:
		return "ticket refused: it was used, has expired, or was issued to another "
		       "address; ask for a new one with RDBEAM.TICKET";
	case BEAM_E_STALE:
		return "the ticket's generation is gone; ask for a new one with RDBEAM.TICKET";
	default:
		return beam_strerror(code);
	}
}

int server_talk_hello(const struct beam_serve_images *images, const struct beam_wire_hello *hello,
		      const char *peer, uint16_t flags, struct beam_served **image,
		      struct beam_wire_welcome *welcome, char text[BEAM_TEXT_BYTES])
{
	uint8_t key[BEAM_TICKET_KEY_BYTES];

	*image = NULL;
	if (hello->version != BEAM_WIRE_VERSION || (hello->flags & ~flags)) {
		snprintf(text, BEAM_TEXT_BYTES,
			 "protocol version %u, flags %u: this side speaks version %d, flags %u; "
			 "install the same rdbeam on both hosts",
			 hello->version, hello->flags, BEAM_WIRE_VERSION, flags);
		return BEAM_E_VERSION;
	}
	int err = images->authorize(images->ctx, hello, peer, key, image);

	if (err) {
		*image = NULL;
		snprintf(text, BEAM_TEXT_BYTES, "%s", refusal(err));
		return err;
	}
	images->describe(images->ctx, *image, &welcome->gen, &welcome->segment_bytes);
	welcome->read_max = welcome->segment_bytes < BEAM_WIRE_READ_MAX ? welcome->segment_bytes
									: BEAM_WIRE_READ_MAX;
	beam_wire_prove_welcome(key, hello, welcome);
	explicit_bzero(key, sizeof(key));
	return 0;
}
