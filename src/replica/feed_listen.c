/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Listens on the address by which the target already reaches us.
 */
#include "feed_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "log.h"
#include "sockets.h"

static void loopback(struct sockaddr_storage *addr)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	memset(addr, 0, sizeof(*addr));
	memcpy(addr, &in, sizeof(in));
}

static void clear_port(struct sockaddr_storage *addr)
{
	if (addr->ss_family == AF_INET6)
		((struct sockaddr_in6 *)addr)->sin6_port = 0;
	else
		((struct sockaddr_in *)addr)->sin_port = 0;
}

static socklen_t length(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					   : sizeof(struct sockaddr_in);
}

static bool is_of_this_host(const struct sockaddr_storage *addr)
{
	struct sockaddr_storage any_port = *addr;
	int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	clear_port(&any_port);
	bool yes = fd >= 0 && bind(fd, (struct sockaddr *)&any_port, length(&any_port)) == 0;

	beam_close(&fd);
	return yes;
}

static int names(struct beam_feed_listen *l)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char port[8];

	if (getsockname(l->fd, (struct sockaddr *)&addr, &len))
		return -errno;
	if (getnameinfo((struct sockaddr *)&addr, len, l->host, sizeof(l->host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return -EINVAL;
	l->port = (uint32_t)strtoul(port, NULL, 10);
	return 0;
}

int beam_feed_listen_open(int target_sock, struct beam_feed_listen *out)
{
	struct beam_feed_listen l = {.fd = -1};
	struct sockaddr_storage local = {0};
	socklen_t local_len = sizeof(local), peer_len = sizeof(l.peer);
	int rc;

	rc = BEAM_FAULT("feed-listen");
	if (rc)
		return rc;
	if (getsockname(target_sock, (struct sockaddr *)&local, &local_len) ||
	    getpeername(target_sock, (struct sockaddr *)&l.peer, &peer_len))
		return -errno;
	if (local.ss_family == AF_UNIX) {
		loopback(&local);
		loopback(&l.peer);
	}
	l.here = beam_same_host(&local, &l.peer);
	clear_port(&local);
	l.fd = socket(local.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l.fd < 0)
		return -errno;
	if (bind(l.fd, (struct sockaddr *)&local, length(&local)) || listen(l.fd, 4))
		rc = -errno;
	else
		rc = names(&l);
	if (rc) {
		beam_close(&l.fd);
		return rc;
	}
	*out = l;
	return 0;
}

void beam_feed_listen_close(struct beam_feed_listen *l)
{
	beam_close(&l->fd);
}

int beam_feed_accept(const struct beam_feed_listen *l)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	int one = 1;
	int sock = accept4(l->fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (sock < 0)
		return -EAGAIN;
	if (!beam_same_host(&addr, &l->peer) && !(l->here && is_of_this_host(&addr))) {
		char host[64] = "?";

		getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), NULL, 0,
			    NI_NUMERICHOST);
		beam_log(BEAM_LOG_WARNING, "feed: refused a connection from %s, not the target",
			 host);
		close(sock);
		return -EAGAIN;
	}
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return sock;
}
