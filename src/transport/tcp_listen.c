/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Opens listening sockets for the addresses of rdbeam.bind, which are written as in redis.conf.
 */
#include "tcp_session.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define BACKLOG 128

/* Accepted connections inherit these options, so refused ones cost no system call. */
static void set_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
	    /* The buffer sizes are left to the kernel, which grows them up to tcp_wmem's limit;
	     * SO_SNDBUF would fix them at the smaller wmem_max. */
	    {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
	    {IPPROTO_TCP, TCP_KEEPIDLE, 15}, {IPPROTO_TCP, TCP_KEEPINTVL, 5},
	    {IPPROTO_TCP, TCP_KEEPCNT, 3},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			       sizeof(options[i].value)))
			beam_log(BEAM_LOG_INFO, "setsockopt %d/%d of pulls: %s", options[i].level,
				 options[i].name, strerror(errno));
}

static int listen_at(const struct addrinfo *info)
{
	int on = 1;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* V6ONLY, so that "*" and "::*" can listen on one port side by side. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    (info->ai_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))) ||
	    bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, BACKLOG)) {
		int err = -errno;

		beam_close(&fd);
		return err;
	}
	set_options(fd);
	return fd;
}

/* Listens on the first address of the name that can be bound, as Redis does. Returns the fd or
 * -errno. */
static int listen_on(const struct beam_server_opts *opts, const char *bind_text)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	const char *host = bind_text;
	struct addrinfo *list;
	char service[16];
	int fd = -EADDRNOTAVAIL;

	if (!strcmp(bind_text, "*")) {
		hints.ai_family = AF_INET;
		host = NULL;
	} else if (!strcmp(bind_text, "::*")) {
		hints.ai_family = AF_INET6;
		host = NULL;
	}
	if (opts->no_names)
		hints.ai_flags |= AI_NUMERICHOST;
	snprintf(service, sizeof(service), "%u", opts->port);
	int failed = getaddrinfo(host, service, &hints, &list);

	if (failed == EAI_SYSTEM)
		return -errno;
	if (failed == EAI_MEMORY)
		return -ENOMEM;
	if (failed)
		return -EADDRNOTAVAIL;
	for (struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
		fd = listen_at(info);
	freeaddrinfo(list);
	return fd;
}

static const char *remedy(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return "stop what uses it, or set another port (rdbeam.port; of a relay --listen)";
	case -EACCES:
		return "set a port above 1023 (rdbeam.port; of a relay --listen)";
	default:
		return "set addresses of this host (rdbeam.bind; of a relay --listen)";
	}
}

/* True when the host lacks the address or its family. Such an address is skipped as long as another
 * one works (like the "-" prefix in redis.conf). */
static bool is_absent(int err)
{
	return err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT;
}

int tcp_listen(const struct beam_server_opts *opts, struct tcp_listener listeners[TCP_LISTENERS],
	       uint32_t *nlisteners, char error_text[BEAM_TEXT_BYTES])
{
	uint32_t n = 0;
	int err = -EADDRNOTAVAIL;

	error_text[0] = 0;
	if (opts->port < 1 || opts->port > 65535) {
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "cannot listen on port %u: rdbeam.port must be 1 to 65535", opts->port);
		return -EINVAL;
	}
	if (opts->nbind < 1 || opts->nbind > TCP_LISTENERS) {
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "cannot listen on %u addresses: rdbeam.bind takes 1 to %d", opts->nbind,
			 TCP_LISTENERS);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < opts->nbind; i++) {
		int fd = listen_on(opts, opts->bind[i]);

		if (fd >= 0) {
			listeners[n++].fd = fd;
			continue;
		}
		err = fd;
		snprintf(error_text, BEAM_TEXT_BYTES, "cannot listen on %.*s port %u: %s; %s",
			 BEAM_ADDR_BYTES, opts->bind[i], opts->port, beam_strerror(err),
			 remedy(err));
		if (!is_absent(err))
			break;
	}
	if (n && (is_absent(err))) {
		/* Log it only here: if no address works, the caller reports it, and only once,
		 * because it tries again and again. */
		if (error_text[0])
			beam_log(BEAM_LOG_NOTICE, "%s", error_text);
		error_text[0] = 0;
		*nlisteners = n;
		return 0;
	}
	while (n)
		beam_close(&listeners[--n].fd);
	return err;
}
