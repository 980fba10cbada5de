/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connects by unix socket, TCP or TLS, then sends AUTH and a first PING.
 */
#include "redis_connect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "fault.h"
#include "rdbeam/error.h"
#include "tcp_connect.h"

#define KEEP_ALIVE_MS 30000 /* for a peer that is not watched */

/* Translates the state of a broken context; errno must be as hiredis left it. */
static int context_error(const redisContext *context, int err)
{
	switch (context->err) {
	case REDIS_ERR_IO:
		/* On a blocking socket a receive timeout shows as EAGAIN. */
		return err == EAGAIN || err == 0 ? -ETIMEDOUT : -err;
	case REDIS_ERR_EOF:
		return BEAM_E_GONE;
	case REDIS_ERR_PROTOCOL:
		return BEAM_E_PROTO;
	case REDIS_ERR_OOM:
		return -ENOMEM;
	default: /* hiredis 1.0 and later: the kernel's own timeout */
		return -ETIMEDOUT;
	}
}

/* An error that the TLS tunnel has met shows here only as the end of our socket. */
bool beam_redis_host_is_gone(const struct beam_redis *redis, int err)
{
	return tcp_is_silence(-err) ||
	       (redis->tunnel && tcp_is_silence(-beam_tunnel_error(redis->tunnel)));
}

static void tell_gone(struct beam_redis *redis)
{
	redis->was_gone = true;
	snprintf(redis->error, sizeof(redis->error),
		 "connection lost: %s: its host does not answer any more: look at the host and the "
		 "network",
		 redis->name);
}

int beam_redis_check_host(struct beam_redis *redis)
{
	struct pollfd pfd = {.fd = redis->context ? redis->context->fd : -1, .events = POLLIN};
	int err = 0;
	socklen_t len = sizeof(err);

	if (poll(&pfd, 1, 0) <= 0 || getsockopt(pfd.fd, SOL_SOCKET, SO_ERROR, &err, &len) ||
	    !beam_redis_host_is_gone(redis, err))
		return 0;
	tell_gone(redis);
	return -ETIMEDOUT;
}

bool beam_redis_was_gone(const struct beam_redis *redis)
{
	return redis->was_gone;
}

int beam_redis_lost(struct beam_redis *redis)
{
	int err = errno, code = context_error(redis->context, err);
	const char *name = redis->name;

	if (beam_redis_host_is_gone(redis, err)) {
		code = code == BEAM_E_GONE ? -ETIMEDOUT : code;
		tell_gone(redis);
	} else if (code == -ETIMEDOUT) {
		snprintf(redis->error, sizeof(redis->error),
			 "no answer: %s: the server hangs or is overloaded", name);
	} else if (code == BEAM_E_PROTO) {
		snprintf(redis->error, sizeof(redis->error),
			 "not a Redis protocol answer: %s: is this the Redis port?", name);
	} else {
		snprintf(redis->error, sizeof(redis->error),
			 "connection lost: %s (%s): look at the server's log", name,
			 beam_strerror(code));
	}
	return code;
}

void beam_redis_peer(const struct beam_redis *redis, char *out, size_t cap)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);

	if (getpeername(beam_redis_socket(redis), (struct sockaddr *)&peer, &len) ||
	    peer.ss_family == AF_UNIX ||
	    getnameinfo((struct sockaddr *)&peer, len, out, (socklen_t)cap, NULL, 0,
			NI_NUMERICHOST))
		out[0] = '\0';
}

int beam_redis_no_memory(struct beam_redis *redis)
{
	snprintf(redis->error, sizeof(redis->error), "out of memory: connection to %s: free some",
		 redis->name);
	return -ENOMEM;
}

/* ---- connecting --------------------------------------------------------------------------- */

static struct timeval timeval_of_ms(int timeout_ms)
{
	return (struct timeval){.tv_sec = timeout_ms / 1000,
				.tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
}

static int connect_failed(struct beam_redis *redis, const struct beam_redis_addr *addr, int code)
{
	if (code == -EAGAIN)
		snprintf(redis->error, sizeof(redis->error),
			 "cannot look up %s: no name server answers: give an address", addr->host);
	else if (code == -ENXIO)
		snprintf(redis->error, sizeof(redis->error), "unknown host: %s: correct it",
			 addr->host);
	else
		snprintf(redis->error, sizeof(redis->error), "cannot connect: %s%s (%s): %s",
			 redis->name, addr->use_tls ? " by TLS" : "", beam_strerror(code),
			 tcp_is_silence(code)
			     ? "look at the host, the network and its firewalls, or correct the "
			       "address"
			     : "start the server or correct the address");
	return code == -ENXIO || code == -EAGAIN ? -EHOSTUNREACH : code;
}

/* The limit for reaching the host. */
static int host_timeout(const struct beam_redis *redis, int timeout_ms)
{
	int ms = timeout_ms > 0 ? timeout_ms : INT_MAX;

	return redis->host_ms && redis->host_ms < ms ? redis->host_ms : ms;
}

/* The three ways to connect. Each returns 0 with a context, or a code with the line written. */

static int connect_unix(struct beam_redis *redis, const struct beam_redis_addr *addr,
			int timeout_ms)
{
	errno = 0;
	redis->context = timeout_ms > 0
			     ? redisConnectUnixWithTimeout(addr->host, timeval_of_ms(timeout_ms))
			     : redisConnectUnix(addr->host);
	if (!redis->context)
		return beam_redis_no_memory(redis);
	return redis->context->err
		   ? connect_failed(redis, addr, context_error(redis->context, errno))
		   : 0;
}

/* Done here because hiredis would not try a second address of a name whose first address does not
 * answer. */
static int connect_tcp(struct beam_redis *redis, const struct beam_redis_addr *addr, int timeout_ms)
{
	int fd =
	    tcp_connect_host(addr->host, addr->first, addr->port, host_timeout(redis, timeout_ms));

	if (fd < 0)
		return connect_failed(redis, addr, fd);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	redis->context = redisConnectFd(fd);
	if (redis->context)
		return 0;
	close(fd);
	return beam_redis_no_memory(redis);
}

static int connect_tls(struct beam_redis *redis, const struct beam_redis_addr *addr, int timeout_ms)
{
	char text[BEAM_REDIS_ERROR_BYTES / 2];
	int code = beam_tunnel_open(
	    addr->host, addr->first, addr->port, &addr->tls, host_timeout(redis, timeout_ms),
	    timeout_ms > 0 ? timeout_ms : INT_MAX, text, sizeof(text), &redis->tunnel);

	if (code == 0) {
		redis->context = redisConnectFd(beam_tunnel_take_fd(redis->tunnel));
		return redis->context ? 0 : beam_redis_no_memory(redis);
	}
	if (!text[0])
		return connect_failed(redis, addr, code);
	snprintf(redis->error, sizeof(redis->error), "cannot connect: %s by TLS: %s", redis->name,
		 text);
	return code;
}

/* A server that is full says so in reply to whatever command comes first. */
static bool is_full(struct beam_redis *redis)
{
	if (!beam_starts_with(redis->error, "ERR max number of clients"))
		return false;
	snprintf(redis->error, sizeof(redis->error),
		 "refused: %s: the server's maxclients is reached; raise it or close some",
		 redis->name);
	return true;
}

/* Sends AUTH. A password that the server does not require is no error, because REDISCLI_AUTH may
 * serve for several servers. The server's text is not repeated where it might contain the
 * arguments. */
static int authenticate(struct beam_redis *redis, const struct beam_redis_addr *addr)
{
	const char *user = addr->user[0] ? addr->user : "default";
	int code;

	if (addr->user[0])
		code = beam_redis_command(redis, NULL, "AUTH %s %s", addr->user, addr->password);
	else
		code = beam_redis_command(redis, NULL, "AUTH %s", addr->password);
	if (code == BEAM_E_DENIED) {
		bool wrong = beam_starts_with(redis->error, "WRONGPASS");

		snprintf(redis->error, sizeof(redis->error), "%s: user %s at %s: %s",
			 wrong ? "wrong password" : "access refused", user, redis->name,
			 wrong ? "correct the password" : "look at the server's ACL and bind");
		return code;
	}
	if (code == BEAM_E_SERVER) {
		if (is_full(redis))
			return code;
		if (strstr(redis->error, "without any password configured"))
			return 0;
		snprintf(redis->error, sizeof(redis->error),
			 "AUTH failed: user %s at %s: is AUTH renamed or the server too old?", user,
			 redis->name);
		return BEAM_E_DENIED;
	}
	return code;
}

/* A first PING tells whether we are let in. Other errors (LOADING, MISCONF, a user who may not
 * PING) are left to the command that meets them. */
static int check_access(struct beam_redis *redis)
{
	char text[BEAM_REDIS_ERROR_BYTES];
	int code = beam_redis_command(redis, NULL, "PING");

	if (code == 0)
		return 0;
	snprintf(text, sizeof(text), "%s", redis->error);
	if (beam_starts_with(text, "NOAUTH")) {
		snprintf(redis->error, sizeof(redis->error),
			 "password needed: %s: give one (REDISCLI_AUTH, or the password option)",
			 redis->name);
		return BEAM_E_DENIED;
	}
	if (beam_starts_with(text, "DENIED")) {
		snprintf(redis->error, sizeof(redis->error),
			 "refused: %s: the server is in protected mode; set a password there or "
			 "connect from its own host",
			 redis->name);
		return BEAM_E_DENIED;
	}
	if (is_full(redis))
		return BEAM_E_SERVER;
	return code == BEAM_E_SERVER || code == BEAM_E_DENIED ? 0 : code;
}

void beam_redis_disconnect(struct beam_redis *redis)
{
	if (redis->context)
		redisFree(redis->context);
	redis->context = NULL;
	beam_tunnel_close(&redis->tunnel);
}

void beam_redis_watch_socket(const struct beam_redis *redis)
{
	int sock = beam_redis_socket(redis);

	if (redis->gone_ms)
		tcp_watch_host(sock, redis->gone_ms);
	else
		tcp_keep_alive(sock, KEEP_ALIVE_MS);
}

int beam_redis_limit(struct beam_redis *redis, int timeout_ms)
{
	redis->timeout_ms = timeout_ms;
	errno = 0;
	return redisSetTimeout(redis->context, timeval_of_ms(timeout_ms)) == REDIS_OK
		   ? 0
		   : beam_redis_lost(redis);
}

static int connect_any(struct beam_redis *redis, const struct beam_redis_addr *addr, int timeout_ms)
{
	int code = BEAM_FAULT("redis-connect");

	if (code)
		return code;
	if (addr->is_unix)
		code = connect_unix(redis, addr, timeout_ms);
	else if (addr->use_tls)
		code = connect_tls(redis, addr, timeout_ms);
	else
		code = connect_tcp(redis, addr, timeout_ms);
	if (code != 0)
		return code;
	fcntl(redis->context->fd, F_SETFD,
	      FD_CLOEXEC); /* hiredis would leak it to hooks and other children */
	if (!addr->is_unix)
		beam_redis_watch_socket(redis);
	return beam_redis_limit(redis, timeout_ms);
}

/* A server that refuses TLS, or our lack of it, closes the connection and gives its reason only to its
 * log. In TLS 1.3 our side of the handshake is over by then. */
static void tell_closed_at_once(struct beam_redis *redis, const struct beam_redis_addr *addr)
{
	size_t used = strlen(redis->error);

	if (addr->is_unix || redis->was_gone || (addr->use_tls && addr->tls.cert))
		return;
	snprintf(redis->error + used, sizeof(redis->error) - used, "; %s",
		 addr->use_tls ? "if it wants a certificate of its clients, give --cert and --key"
			       : "if this is its tls-port, connect by TLS; if it is rdbeam.port, "
				 "give the server's own port");
}

int beam_redis_connect(struct beam_redis *redis, const struct beam_redis_addr *addr, int timeout_ms)
{
	int code = connect_any(redis, addr, timeout_ms);

	memcpy(redis->renamed, addr->renamed, sizeof(redis->renamed));
	if (code == 0 && addr->password[0])
		code = authenticate(redis, addr);
	code = code ? code : check_access(redis);
	if (code == BEAM_E_GONE || code == -ECONNRESET || code == -EPIPE)
		tell_closed_at_once(redis, addr);
	return code;
}
