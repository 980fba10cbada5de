/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connects to one of a name's addresses, some of which may not answer, and sets the keep-alive
 * options.
 */
#include "tcp_connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define ADDRESSES_MOST 16

static int connect_one(const struct addrinfo *info, int64_t timeout_ms)
{
	int on = 1, err = 0;
	socklen_t err_bytes = sizeof(err);
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
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

/* Resolves a name. Returns NULL with *error: -ENXIO, or -EAGAIN when no name server answered. */
static struct addrinfo *look_up(const char *host, uint32_t port, int flags, int *error)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char service[16];

	snprintf(service, sizeof(service), "%u", port);
	int failed = host ? getaddrinfo(host, service, &hints, &list) : EAI_NONAME;

	*error = failed == EAI_AGAIN ? -EAGAIN : -ENXIO;
	return failed ? NULL : list;
}

struct addresses {
	const struct addrinfo *at[ADDRESSES_MOST];
	unsigned n;
};

static void add(struct addresses *out, const struct addrinfo *list, bool v4)
{
	for (; list && out->n < ADDRESSES_MOST; list = list->ai_next) {
		const struct addrinfo *before = out->n ? out->at[0] : NULL;
		bool again = before && before->ai_addrlen == list->ai_addrlen &&
			     memcmp(before->ai_addr, list->ai_addr, list->ai_addrlen) == 0;

		if (!again && (list->ai_family == AF_INET) == v4)
			out->at[out->n++] = list;
	}
}

static int connect_any(const struct addresses *addresses, int timeout_ms)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)timeout_ms;
	int first_error = 0;

	for (unsigned i = 0; i < addresses->n; i++) {
		uint64_t now = beam_now_ms();
		uint64_t left_ms = now < deadline ? deadline - now : 0;
		int fd = connect_one(addresses->at[i], (int64_t)(left_ms / (addresses->n - i)));

		if (fd >= 0)
			return fd;
		if (i == 0)
			first_error = fd;
	}
	return first_error;
}

int tcp_connect_host(const char *host, const char *first, uint32_t port, int timeout_ms)
{
	int error;
	struct addrinfo *wanted = look_up(first, port, AI_NUMERICHOST, &error);
	struct addrinfo *list = look_up(host, port, 0, &error);
	struct addresses addresses = {.n = 0};

	add(&addresses, wanted, true);
	add(&addresses, wanted, false);
	add(&addresses, list, true);
	add(&addresses, list, false);
	int fd = addresses.n ? connect_any(&addresses, timeout_ms) : error;

	if (wanted)
		freeaddrinfo(wanted);
	if (list)
		freeaddrinfo(list);
	return fd;
}

static void set(int sock, int level, int option, int value)
{
	(void)setsockopt(sock, level, option, &value, sizeof(value));
}

static void probe_every(int sock, int period_ms)
{
	int period_s = period_ms / 1000 > 0 ? period_ms / 1000 : 1;

	set(sock, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(sock, IPPROTO_TCP, TCP_KEEPIDLE, period_s);
	set(sock, IPPROTO_TCP, TCP_KEEPINTVL, period_s);
	set(sock, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

void tcp_keep_alive(int sock, int gone_ms)
{
	probe_every(sock, gone_ms / 4);
}

void tcp_watch_host(int sock, int gone_ms)
{
	/* TCP_USER_TIMEOUT replaces the count of probes. A host that comes back after the last
	 * probe would not be noticed any more, and the time counts from the last answer; so send
	 * many probes. */
	probe_every(sock, gone_ms / 8);
	set(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, gone_ms);
}

bool tcp_is_silence(int code)
{
	return code == -ETIMEDOUT || code == -EHOSTUNREACH || code == -ENETUNREACH;
}

int tcp_connect(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES])
{
	int fd = BEAM_FAULT("tcp_pull_connect");

	if (!fd)
		fd =
		    tcp_connect_host(opts->host, opts->first, opts->port, opts->connect_timeout_ms);

	if (fd == -ENXIO || fd == -EAGAIN) {
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "cannot find host %.100s; give a name or address that this host knows",
			 opts->host);
		return -EHOSTUNREACH;
	}
	if (fd < 0)
		snprintf(error_text, BEAM_TEXT_BYTES, "cannot connect to %.100s port %u: %s; %s",
			 opts->host, opts->port, beam_strerror(fd),
			 tcp_is_silence(fd)
			     ? "let TCP to this port through the firewalls between (it "
			       "is rdbeam.port of the primary, --listen of a relay)"
			     : "see rdbeam.bind, rdbeam.port and rdbeam.transport on "
			       "the primary, and the firewall");
	return fd;
}
