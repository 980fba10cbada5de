/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The TCP server: decides who may connect, who is served, who waits, and who is dropped.
 * Connections that have not proved anything yet are cheap, and their number is limited. When there
 * are too many, the oldest one is cut: a reader with a ticket sends HELLO at once, and one without
 * loses nothing.
 */
#include "tcp_session.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "server_talk.h"
#include "sockets.h"

#define HELLO_MS          2000
#define CLOSING_MS        2000 /* for the peer to read its last message */
#define UNPROVED_MAX      64
#define UNPROVED_PER_ADDR 16
/* Silent sessions are dropped after this many stall timeouts. */
#define IDLE_STALLS  5
#define TICK_MS      100
#define ACCEPT_TURNS 64

static struct tcp_server *of(struct beam_server *server)
{
	return (struct tcp_server *)server;
}

/* ---- accept --------------------------------------------------------------------------------- */

/* Finds the oldest unproved session of `peer` (NULL: of all) and counts them. A peer that has
 * proved by TLS to have a ticket's key does not count against its address. */
static struct tcp_session *oldest_unproved(struct tcp_server *server, const char *peer, uint32_t *n)
{
	struct tcp_session *oldest = NULL;

	*n = 0;
	for (struct tcp_session *s = server->sessions; s; s = s->next) {
		if (s->state != SESSION_HELLO && s->state != SESSION_CLOSING)
			continue;
		if (peer && (strcmp(peer, s->peer) != 0 || channel_has_key(&s->channel)))
			continue;
		if (!oldest)
			oldest = s;
		++*n;
	}
	return oldest;
}

/* Cuts the oldest unproved session (of `peer`, or of all if NULL) if there are `most` of them. It
 * reads that session's input first, because when many connect at once, all are accepted before the
 * first one's HELLO is read. */
static void make_room(struct tcp_server *server, const char *peer, uint32_t most)
{
	struct tcp_session *oldest, *heard = NULL;
	uint32_t n;

	while ((oldest = oldest_unproved(server, peer, &n)) && n >= most) {
		if (oldest == heard) {
			tcp_session_cut(oldest, BEAM_E_BUSY);
			return;
		}
		tcp_session_receive(oldest);
		tcp_session_send(oldest);
		heard = oldest;
	}
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
			/* Out of fds or memory. The listener would stay readable, so stop watching
			 * it for a while. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM) {
				beam_log(BEAM_LOG_WARNING,
					 "accept of a pull: %s; raise LimitNOFILE",
					 strerror(errno));
				pause_listeners(server, true);
			}
			break;
		}
		server_talk_peer((struct sockaddr *)&addr, peer);
		if (!server->images->admits(server->images->ctx, peer)) {
			beam_close(&sock);
			continue;
		}
		make_room(server, peer, UNPROVED_PER_ADDR);
		make_room(server, NULL, UNPROVED_MAX);
		int err = tcp_session_start(server, sock, peer);

		if (err)
			beam_log(BEAM_LOG_WARNING, "pull from %s not taken: %s", peer,
				 beam_strerror(err));
	}
	tcp_server_leave(server);
}

/* ---- places --------------------------------------------------------------------------------- */

static struct tcp_session *of_place(struct place *place)
{
	return (struct tcp_session *)((char *)place - offsetof(struct tcp_session, place));
}

void tcp_server_admit(struct tcp_session *session)
{
	char text[BEAM_TEXT_BYTES];
	int err = places_have_room(&session->server->places, 0, text);

	if (err) {
		tcp_session_end(session, BEAM_WIRE_REFUSED, err, text);
		return;
	}
	session->state = SESSION_WAITING;
	places_wait(&session->server->places, &session->place);
}

static void tell_positions(struct tcp_server *server)
{
	struct place *place = server->places.waiting;
	uint32_t waiting = server->places.nwaiting;

	for (uint32_t position = 1; place; position++) {
		struct tcp_session *session = of_place(place);

		place = place->next; /* read before: a session that is cut leaves the queue */
		tcp_session_wait(session, &(struct beam_wire_waiting){position, waiting});
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
	struct place *next;

	if (server->busy > 1) {
		server->busy--;
		return;
	}
	while ((next = places_next(&server->places)))
		tcp_session_serve(of_place(next));
	tell_positions(server);
	tcp_bucket_settle(server);
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
	server->places.max = opts->max_pulls;
	server->stall_ms = 1000ull * opts->stall_timeout_s;
	server->must_tls = opts->must_tls;
	tcp_bucket_configure(&server->bucket, opts->rate_limit);
	/* The rate is limited where bytes are sent, so then all bytes must be. */
	bool lent = server->lends;

	server->lends = opts->lends && !opts->rate_limit;
	for (struct tcp_session *s = server->sessions; lent && !server->lends && s; s = s->next)
		tcp_session_take_back(s);
	tcp_server_leave(server);
}

/* Cutting a TCP session has effect at once, so there is nothing to wait for. */
static int server_stop(struct beam_server *base, void (*stopped)(void *arg), void *arg)
{
	struct tcp_server *server = of(base);

	(void)stopped, (void)arg;
	tcp_server_enter(server);
	for (struct tcp_session *s = server->sessions; s; s = s->next)
		tcp_session_cut(s, BEAM_E_ABORTED);
	free_dead(server);
	for (uint32_t i = 0; i < server->nlisteners; i++) {
		beam_watch_remove(&server->listeners[i].watch);
		beam_close(&server->listeners[i].fd);
	}
	server->nlisteners = 0;
	return 0;
}

static void server_close(struct beam_server **base)
{
	if (!*base)
		return;
	struct tcp_server *server = of(*base);

	server_stop(*base, NULL, NULL);
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

	/* Done on return: the kernel has copies of everything that was sent. */
	(void)fenced;
	(void)arg;
	tcp_server_enter(server);
	for (struct tcp_session *s = server->sessions; s; s = s->next) {
		if (s->image != image)
			continue;
		(void)BEAM_FAULT("tcp_revoke");
		tcp_session_end(s, BEAM_WIRE_STALE, BEAM_E_STALE, why);
		tcp_session_send(s);
	}
	tcp_server_leave(server);
	return 0;
}

static bool holds(const struct tcp_session *s, const struct beam_served *image, uint32_t index)
{
	return s->image == image && !tcp_session_has_taken(s, index);
}

static bool server_done(struct beam_server *base, struct beam_served *image, uint32_t index)
{
	for (const struct tcp_session *s = of(base)->sessions; s; s = s->next)
		if (holds(s, image, index))
			return false;
	return true;
}

static uint32_t server_drop(struct beam_server *base, struct beam_served *image, uint32_t index,
			    const char *why)
{
	struct tcp_server *server = of(base);
	uint32_t n = 0;

	tcp_server_enter(server);
	for (struct tcp_session *s = server->sessions; s; s = s->next) {
		if (!holds(s, image, index))
			continue;
		n++;
		tcp_session_end(s, BEAM_WIRE_STALE, BEAM_E_STALE, why);
		tcp_session_send(s);
	}
	tcp_server_leave(server);
	return n;
}

static void server_counts(struct beam_server *base, struct beam_server_counts *out)
{
	const struct tcp_server *server = of(base);

	*out = (struct beam_server_counts){.active = server->places.nserved,
					   .waiting = server->places.nwaiting};
	for (const struct tcp_session *s = server->sessions; s; s = s->next)
		out->unauthenticated += s->state == SESSION_HELLO;
}

static uint32_t server_pulls(struct beam_server *base, struct beam_server_pull *out, uint32_t cap)
{
	uint64_t now = beam_now_ms();
	uint32_t n = 0;

	for (const struct tcp_session *s = of(base)->sessions; s && n < cap; s = s->next) {
		if (s->state != SESSION_SERVED)
			continue;
		out[n] = (struct beam_server_pull){.number = s->place.number,
						   .image = s->image,
						   .bytes = s->sent_bytes,
						   .ms = now - s->place.since_ms};
		memcpy(out[n++].peer, s->peer, sizeof(s->peer));
	}
	return n;
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
    .done = server_done,
    .drop = server_drop,
    .counts = server_counts,
    .pulls = server_pulls,
    .sessions = server_sessions,
    .stop = server_stop,
    .close = server_close,
};
