/* SPDX-License-Identifier: BSD-3-Clause
 * Connecting to a name or address within a time. */
#include "tcp_connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "sockets.h"

static int connect_one(const struct addrinfo *info, int64_t timeout_ms)
{
	int on = 1, err = 0;
	socklen_t err_bytes = sizeof(err);
	int fault = BEAM_FAULT("tcp_pull_connect");
	int fd =
	    fault ? -1 : socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fault ? fault : -errno;
	if (connect(fd, info->ai_addr, info->ai_addrlen) && errno != EINPROGRESS) {
		err = -errno;
	} else {
		err = beam_wait_for(fd, POLLOUT, timeout_ms);
		int so_error = 0;

		if (!err && getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_error, &err_bytes))
			err = -errno;
		if (!err)
			err = -so_error;
	}
	if (!err && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		err = -errno;
	if (err)
		beam_close(&fd);
	return err ? err : fd;
}

int tcp_connect_host(const char *host, uint32_t port, int timeout_ms)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	uint64_t deadline = beam_now_ms() + (uint64_t)timeout_ms;
	struct addrinfo *list;
	char service[16];
	int fd = -ETIMEDOUT;

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &list))
		return -ENXIO;
	for (struct addrinfo *info = list; info && fd < 0; info = info->ai_next) {
		uint64_t now = beam_now_ms();

		fd = connect_one(info, now < deadline ? (int64_t)(deadline - now) : 0);
	}
	freeaddrinfo(list);
	return fd;
}

int tcp_connect(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES])
{
	int fd = tcp_connect_host(opts->host, opts->port, opts->connect_timeout_ms);

	if (fd == -ENXIO) {
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "cannot find host %.100s; give a name or address that this host knows",
			 opts->host);
		return -EHOSTUNREACH;
	}
	if (fd < 0)
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "cannot connect to %.100s port %u: %s; see rdbeam.bind, rdbeam.port and "
			 "rdbeam.transport on the primary, and the firewall",
			 opts->host, opts->port, beam_strerror(fd));
	return fd;
}
