/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The door of the temporary primary: an ephemeral port at our end of the connection to the target,
 * open to the target's address only, or where it runs here to any of this host's: it may have a
 * bind-source-addr. */
#ifndef BEAM_FEED_LISTEN_H
#define BEAM_FEED_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct beam_feed_listen {
	int fd;        /* -1: closed */
	char host[64]; /* numeric, for REPLICAOF */
	uint32_t port;
	struct sockaddr_storage peer; /* who may come; the port is of no meaning */
	bool here;                    /* that is this host */
};

/* `target_sock` is connected to the target; over a unix socket the loopback address is used.
 * 0 or -errno. */
int beam_feed_listen_open(int target_sock, struct beam_feed_listen *out);
void beam_feed_listen_close(struct beam_feed_listen *listen);

/* Takes one connection. Its fd; or -EAGAIN when there is none or it came from elsewhere (which is
 * logged). */
int beam_feed_accept(const struct beam_feed_listen *listen);

#endif
