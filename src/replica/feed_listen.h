/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The listening socket of the temporary primary: an ephemeral port on the local address of the
 * connection to the target. Only the target's address may connect; if the target runs on this host,
 * any address of this host may, because it may have a bind-source-addr.
 */
#ifndef BEAM_FEED_LISTEN_H
#define BEAM_FEED_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct beam_feed_listen {
	int fd;        /* -1: closed */
	char host[64]; /* numeric, for REPLICAOF */
	uint32_t port;
	struct sockaddr_storage peer; /* who may connect; its port is ignored */
	bool here;                    /* the target runs on this host */
};

/* Starts listening. `target_sock` is connected to the target; if it is a unix socket, the loopback
 * address is used. Returns 0 or -errno. */
int beam_feed_listen_open(int target_sock, struct beam_feed_listen *out);
/* Closes the socket. May be called again. */
void beam_feed_listen_close(struct beam_feed_listen *listen);

/* Accepts one connection. Returns its non-blocking fd, or -EAGAIN when there is none or when it
 * came from another address (which is logged). */
int beam_feed_accept(const struct beam_feed_listen *listen);

#endif
