/* SPDX-License-Identifier: BSD-3-Clause
 * The TCP server: who may connect, who has a place, who waits, who is dropped. Connections that
 * have proved nothing are cheap and few; when there are too many the oldest makes room, because one
 * with a ticket says HELLO at once and one without has nothing to lose. */
#include "tcp_session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define HELLO_MS          2000
#define CLOSING_MS        2000 /* for the peer to read its last message */
#define UNPROVED_MAX      64
#define UNPROVED_PER_ADDR 4
#define WAITING_PER_PLACE 4
#define IDLE_STALLS       5 /* silent sessions are dropped after this many stall timeouts */
#define TICK_MS           100
#define ACCEPT_TURNS      64

static struct tcp_server *of(struct beam_server *server)
{
	return (struct tcp_server *)server;
}

static uint32_t count(const struct tcp_server *server, enum session_state state)
{
	uint32_t n = 0;

	for (const struct tcp_session *s = server->sessions; s; s = s->next)
		n += s->state == state;
	return n;
}

/* ---- accept --------------------------------------------------------------------------------- */

/* Address as text; one that came as IPv4 within IPv6 is told as IPv4, as tickets have it. */
static void peer_text(const struct sockaddr_storage *addr, char text[BEAM_ADDR_BYTES])
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	const void *bytes = &in->sin_addr;
	int family = AF_INET;

	if (addr->ss_family == AF_INET6) {
		bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);

		bytes = in6->sin6_addr.s6_addr + (mapped ? 12 : 0);
		family = mapped ? AF_INET : AF_INET6;
	}
	if (!inet_ntop(family, bytes, text, BEAM_ADDR_BYTES))
		snprintf(text, BEAM_ADDR_BYTES, "?");
}

static void set_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
	    /* Buffers are left to the kernel, which grows them to tcp_wmem's limit; SO_SNDBUF would
	     * fix them at the smaller wmem_max. */
	    {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
	    {IPPROTO_TCP, TCP_KEEPIDLE, 15}, {IPPROTO_TCP, TCP_KEEPINTVL, 5},
	    {IPPROTO_TCP, TCP_KEEPCNT, 3},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			       sizeof(options[i].value)))
			beam_log(BEAM_LOG_INFO, "setsockopt %d/%d of a pull: %s", options[i].level,
				 options[i].name, strerror(errno));
}

/* Cuts the oldest unproved session (of `peer`, or of all if NULL) if there are `most` of them. */
static void make_room(struct tcp_server *server, const char *peer, uint32_t most)
{
	struct tcp_session *oldest = NULL;
	uint32_t n = 0;

	for (struct tcp_session *s = server->sessions; s; s = s->next) {
		if (s->state != SESSION_HELLO && s->state != SESSION_CLOSING)
			continue;
		if (peer && strcmp(peer, s->peer) != 0)
			continue;
		if (!oldest)
			oldest = s;
		n++;
	}
	if (n >= most)
		tcp_session_cut(oldest, BEAM_E_BUSY);
}

static void pause_listeners(struct tcp_server *server, bool pause)
{
	server->paused = pause;
	for (uint32_t i = 0; i < server->nlisteners; i++)
		beam_watch_modify(server->listeners[i].watch, pause ? 0 : EPOLLIN);
}

static void on_connect(int fd, uint32_t events, void *arg)
{
	struct tcp_listener *listener = arg;
	struct tcp_server *server = listener->server;

	(void)events;
	tcp_server_enter(server);
	for (int turn = 0; turn < ACCEPT_TURNS; turn++) {
		struct sockaddr_storage addr;
		socklen_t addr_bytes = sizeof(addr);
		char peer[BEAM_ADDR_BYTES];
		int sock = accept4(fd, (struct sockaddr *)&addr, &addr_bytes,
				   SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (sock < 0) {
			/* Out of fds or memory: the listener stays readable, so it rests. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM) {
				beam_log(BEAM_LOG_WARNING,
					 "accept of a pull: %s; raise LimitNOFILE",
					 strerror(errno));
				pause_listeners(server, true);
			}
			break;
		}
		peer_text(&addr, peer);
		make_room(server, peer, UNPROVED_PER_ADDR);
		make_room(server, NULL, UNPROVED_MAX);
		set_options(sock);
		int err = tcp_session_start(server, sock, peer);

		if (err)
			beam_log(BEAM_LOG_WARNING, "pull from %s not taken: %s", peer,
				 beam_strerror(err));
	}
	tcp_server_leave(server);
}

/* ---- places --------------------------------------------------------------------------------- */

void tcp_server_admit(struct tcp_session *session)
{
	struct tcp_server *server = session->server;
	char text[BEAM_TEXT_BYTES];

	session->place = server->next_place++;
	/* The session itself is among the waiting already. */
	if (count(server, SESSION_SERVED) < server->max_pulls ||
	    count(server, SESSION_WAITING) <= WAITING_PER_PLACE * server->max_pulls)
		return;
	snprintf(text, sizeof(text),
		 "%u pulls run and %u wait: try later, or raise rdbeam.max-pulls on the primary",
		 server->max_pulls, WAITING_PER_PLACE * server->max_pulls);
	tcp_session_end(session, BEAM_WIRE_REFUSED, BEAM_E_BUSY, text);
}

static struct tcp_session *first_waiting(struct tcp_server *server)
{
	struct tcp_session *first = NULL;

	for (struct tcp_session *s = server->sessions; s; s = s->next)
		if (s->state == SESSION_WAITING && (!first || s->place < first->place))
			first = s;
	return first;
}

static void tell_positions(struct tcp_server *server)
{
	for (struct tcp_session *s = server->sessions; s; s = s->next) {
		uint32_t position = 1;

		if (s->state != SESSION_WAITING)
			continue;
		for (struct tcp_session *t = server->sessions; t; t = t->next)
			position += t->state == SESSION_WAITING && t->place < s->place;
		tcp_session_wait(s, position);
	}
}

static void free_dead(struct tcp_server *server)
{
	struct tcp_session **at = &server->sessions;

	while (*at) {
		struct tcp_session *session = *at;

		if (session->state == SESSION_DEAD) {
			*at = session->next;
			free(session);
		} else {
			at = &session->next;
		}
	}
}

/* ---- time ----------------------------------------------------------------------------------- */

static void check_session(struct tcp_server *server, struct tcp_session *s, uint64_t now)
{
	switch (s->state) {
	case SESSION_HELLO:
		if (now - s->start_ms >= HELLO_MS)
			tcp_session_cut(s, -ETIMEDOUT);
		break;
	case SESSION_CLOSING:
		if (now - s->active_ms >= CLOSING_MS)
			tcp_session_cut(s, -ETIMEDOUT);
		break;
	case SESSION_WAITING:
	case SESSION_SERVED:
		if (s->stalled_ms && now - s->stalled_ms >= server->stall_ms)
			tcp_session_cut(s, -ETIMEDOUT);
		else if (s->state == SESSION_SERVED && !s->in_line && !s->stalled_ms &&
			 now - s->active_ms >= IDLE_STALLS * server->stall_ms)
			tcp_session_cut(s, -ETIMEDOUT);
		break;
	case SESSION_DEAD:
		break;
	}
}

static void on_tick(void *arg)
{
	struct tcp_server *server = arg;
	uint64_t now = beam_now_ms();

	tcp_server_enter(server);
	if (server->paused)
		pause_listeners(server, false);
	for (struct tcp_session *s = server->sessions; s; s = s->next)
		check_session(server, s, now);
	tcp_server_leave(server);
}

void tcp_server_enter(struct tcp_server *server)
{
	server->busy++;
}

void tcp_server_leave(struct tcp_server *server)
{
	struct tcp_session *next;

	if (server->busy > 1) {
		server->busy--;
		return;
	}
	while (count(server, SESSION_SERVED) < server->max_pulls && (next = first_waiting(server)))
		tcp_session_serve(next);
	tell_positions(server);
	server->busy--;
	free_dead(server);
	if (!server->sessions && !server->paused)
		beam_timer_cancel(&server->tick);
	else if (!server->tick &&
		 beam_timer_set(server->loop, TICK_MS, on_tick, server, &server->tick))
		beam_log(BEAM_LOG_WARNING, "no memory for the timeouts of pulls");
}

/* ---- the table ------------------------------------------------------------------------------ */

static void server_configure(struct beam_server *base, const struct beam_server_opts *opts)
{
	struct tcp_server *server = of(base);

	tcp_server_enter(server);
	server->max_pulls = opts->max_pulls;
	server->stall_ms = 1000ull * opts->stall_timeout_s;
	tcp_bucket_configure(&server->bucket, opts->rate_limit);
	tcp_server_leave(server);
}

static void server_close(struct beam_server **base)
{
	if (!*base)
		return;
	struct tcp_server *server = of(*base);

	tcp_server_enter(server);
	for (struct tcp_session *s = server->sessions; s; s = s->next)
		tcp_session_cut(s, BEAM_E_ABORTED);
	free_dead(server);
	for (uint32_t i = 0; i < server->nlisteners; i++) {
		beam_watch_remove(&server->listeners[i].watch);
		beam_close(&server->listeners[i].fd);
	}
	beam_timer_cancel(&server->tick);
	beam_timer_cancel(&server->bucket.timer);
	free(server);
	*base = NULL;
}

static int server_open(const struct beam_server_opts *opts, char error_text[BEAM_TEXT_BYTES],
		       struct beam_server **out)
{
	struct tcp_server *server = calloc(1, sizeof(*server));
	int err = -ENOMEM;

	if (!server)
		goto no_memory;
	server->loop = opts->loop;
	server->images = opts->images;
	err = tcp_listen(opts, server->listeners, &server->nlisteners, error_text);
	if (err)
		goto free_server;
	for (uint32_t i = 0; i < server->nlisteners; i++) {
		struct tcp_listener *listener = &server->listeners[i];

		listener->server = server;
		err = beam_watch_add(server->loop, listener->fd, EPOLLIN, on_connect, listener,
				     &listener->watch);
		if (err)
			goto close_server;
	}
	server_configure((struct beam_server *)server, opts);
	*out = (struct beam_server *)server;
	return 0;

close_server : {
	struct beam_server *base = (struct beam_server *)server;

	snprintf(error_text, BEAM_TEXT_BYTES, "cannot watch a listener: %s", beam_strerror(err));
	server_close(&base);
	return err;
}
free_server:
	free(server);
	return err;
no_memory:
	snprintf(error_text, BEAM_TEXT_BYTES, "no memory for the pull listener");
	return err;
}

static void server_published(struct beam_server *base, struct beam_served *image)
{
	struct tcp_server *server = of(base);

	tcp_server_enter(server);
	for (struct tcp_session *s = server->sessions; s; s = s->next) {
		if (s->image != image || s->state != SESSION_SERVED)
			continue;
		s->discover = true;
		tcp_session_send(s);
	}
	tcp_server_leave(server);
}

static int server_revoke(struct beam_server *base, struct beam_served *image, const char *why,
			 void (*fenced)(void *arg), void *arg)
{
	struct tcp_server *server = of(base);

	(void)fenced; /* done on return: the kernel has copies of all that was sent */
	(void)arg;
	tcp_server_enter(server);
	for (struct tcp_session *s = server->sessions; s; s = s->next) {
		if (s->image != image)
			continue;
		tcp_session_end(s, BEAM_WIRE_STALE, BEAM_E_STALE, why);
		tcp_session_send(s);
	}
	tcp_server_leave(server);
	return 0;
}

static void server_counts(struct beam_server *base, struct beam_server_counts *out)
{
	struct tcp_server *server = of(base);

	out->active = count(server, SESSION_SERVED);
	out->waiting = count(server, SESSION_WAITING);
	out->unauthenticated = count(server, SESSION_HELLO);
}

static uint32_t server_sessions(struct beam_server *base, struct beam_served *image)
{
	uint32_t n = 0;

	for (struct tcp_session *s = of(base)->sessions; s; s = s->next)
		n += s->image == image;
	return n;
}

const struct beam_server_ops beam_tcp_server = {
    .name = "tcp",
    .open = server_open,
    .configure = server_configure,
    .published = server_published,
    .revoke = server_revoke,
    .counts = server_counts,
    .sessions = server_sessions,
    .close = server_close,
};
