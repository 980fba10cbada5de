/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One reader's connection: its life and its output. Control bytes are sent from a small buffer,
 * payload straight from the segment's memory. channel_send copies (or encrypts) it, so nothing
 * refers to that memory after the call; MSG_ZEROCOPY is not used, because then a fence would have
 * to wait for the peer. Requests are answered in order.
 */
#include "tcp_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "clock.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

/* Sent by one session before others get their turn. */
#define TURN_BYTES (8u << 20)

static void on_event(int fd, uint32_t events, void *arg);

int tcp_session_start(struct tcp_server *server, int fd, const char *peer)
{
	struct tcp_session *session = BEAM_FAULT("tcp_accept") ? NULL : calloc(1, sizeof(*session));
	struct tcp_session **at = &server->sessions;
	int err = -ENOMEM;

	if (!session)
		goto close_fd;
	session->server = server;
	session->channel.fd = fd;
	session->state = SESSION_HELLO;
	session->lender.sock = -1;
	session->watched = EPOLLIN;
	session->start_ms = session->active_ms = beam_now_ms();
	snprintf(session->peer, sizeof(session->peer), "%s", peer);
	err = beam_watch_add(server->loop, fd, EPOLLIN, on_event, session, &session->watch);
	if (err)
		goto free_session;
	while (*at)
		at = &(*at)->next;
	*at = session;
	return 0;

free_session:
	free(session);
close_fd:
	beam_close(&fd);
	return err;
}

/* ---- ends ----------------------------------------------------------------------------------- */

/* Gives the image back. From here on nothing of this session reads its memory. */
static void detach(struct tcp_session *session, int code)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_served *image = session->image;

	session->image = NULL;
	session->nrequests = session->nreads = 0;
	session->discover = false;
	tcp_bucket_leave(session);
	places_leave(&session->server->places, &session->place);
	near_lender_close(&session->lender);
	untold_free(&session->untold);
	free(session->taken);
	session->taken = NULL;
	session->taken_words = 0;
	if (!session->own_payload)
		session->payload_bytes = 0;
	if (!image)
		return;
	images->ended(images->ctx, image, session->peer, code, session->sent_bytes,
		      beam_now_ms() - session->start_ms);
	images->release(images->ctx, image);
}

void tcp_session_cut(struct tcp_session *session, int code)
{
	if (session->state == SESSION_DEAD)
		return;
	session->state = SESSION_DEAD;
	beam_watch_remove(&session->watch);
	channel_close(&session->channel);
	free(session->own_payload);
	session->own_payload = NULL;
	detach(session, code);
}

/* The rest of a DATA in progress must still be sent, or the peer would take the last message for
 * payload. It is copied, because the image is released now. */
static bool keep_payload(struct tcp_session *session)
{
	if (!session->payload_bytes)
		return true;
	session->own_payload = malloc(session->payload_bytes);
	if (!session->own_payload)
		return false;
	memcpy(session->own_payload, session->payload, session->payload_bytes);
	session->payload = session->own_payload;
	return true;
}

void tcp_session_end(struct tcp_session *session, enum beam_wire_type type, int code,
		     const char *text)
{
	if (session->state == SESSION_CLOSING || session->state == SESSION_DEAD)
		return;
	if (!keep_payload(session)) {
		tcp_session_cut(session, code);
		return;
	}
	if (!session->image)
		beam_log(BEAM_LOG_INFO, "pull from %s refused: %s", session->peer, text);
	session->state = SESSION_CLOSING;
	session->active_ms = beam_now_ms();
	session->has_last = true;
	session->last.type = type;
	session->last.text.code = code;
	snprintf(session->last.text.text, sizeof(session->last.text.text), "%s", text);
	session->in_bytes = 0;
	detach(session, code);
}

/* ---- out ------------------------------------------------------------------------------------ */

static bool has_room(struct tcp_session *session)
{
	if (session->control_at == session->control_bytes)
		session->control_at = session->control_bytes = 0;
	return sizeof(session->control) - session->control_bytes >= BEAM_WIRE_MESSAGE_MAX;
}

/* The caller must have checked has_room. */
static void put(struct tcp_session *session, const struct beam_wire_message *message)
{
	session->control_bytes +=
	    beam_wire_encode(message, session->control + session->control_bytes);
}

static bool room_for_sealed(void *arg)
{
	return has_room(arg);
}

/* Returns 1 when the signature was queued or the reader did not request signatures; 0 when it is
 * not there yet; or an error. */
static int tell_vouched(struct tcp_session *session, uint32_t index)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_wire_message message = {.type = BEAM_WIRE_VOUCHED};

	if (!session->vouched)
		return 1;
	int err = images->vouched(images->ctx, session->image, index, &message.vouched);

	if (err)
		return err == -EAGAIN ? 0 : err;
	put(session, &message);
	return 1;
}

/* A VOUCHED and a LENT followed by a SEALED or COMPLETE need no more than the room that has_room
 * checks. */
static_assert(4 * BEAM_WIRE_HEAD_BYTES + sizeof(struct beam_wire_vouched) +
		      sizeof(struct beam_wire_lent) + sizeof(struct beam_wire_complete) <=
		  BEAM_WIRE_MESSAGE_MAX,
	      "all fit");

static void tell_lent(struct tcp_session *session, uint32_t index,
		      const struct beam_serve_segment *segment)
{
	struct beam_wire_message message = {.type = BEAM_WIRE_LENT};

	if (session->server->lends && near_lend(&session->lender, index, segment, &message.lent))
		put(session, &message);
}

static void tell_taken_back(struct tcp_session *session)
{
	if (!session->takes_back || !has_room(session))
		return;
	session->takes_back = false;
	put(session,
	    &(struct beam_wire_message){.type = BEAM_WIRE_LENT, .lent.index = BEAM_LENT_NONE});
}

static int tell_sealed(void *arg, uint32_t index, const struct beam_serve_segment *segment)
{
	int told = tell_vouched(arg, index);

	if (told <= 0)
		return told;
	tell_lent(arg, index, segment);
	put(arg,
	    &(struct beam_wire_message){
		.type = BEAM_WIRE_SEALED,
		.sealed = {.index = index, .len_bytes = segment->len_bytes, .crc = segment->crc}});
	return told;
}

static int tell_complete(struct tcp_session *session, const struct beam_wire_message *whole)
{
	int told = tell_vouched(session, BEAM_VOUCH_IMAGE);

	if (told > 0) {
		session->told_complete = true;
		put(session, whole);
	}
	return told < 0 ? told : 1;
}

static void discover(struct tcp_session *session)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_wire_message whole = {.type = BEAM_WIRE_COMPLETE};
	const struct untold_visit visit = {session, room_for_sealed, tell_sealed};

	if (!session->discover)
		return;
	/* Ask this first: if it says yes, the segments sealed by now are all there are. */
	bool complete = images->complete(images->ctx, session->image, &whole.complete);
	int told = untold_walk(&session->untold, images, session->image, &visit);

	if (told > 0 && complete && !session->told_complete)
		told = has_room(session) ? tell_complete(session, &whole) : 0;
	if (told < 0)
		tcp_session_end(session, told == BEAM_E_STALE ? BEAM_WIRE_STALE : BEAM_WIRE_FAILED,
				told, beam_strerror(told));
	else
		/* without room, this continues when the buffer was sent */
		session->discover = told == 0;
}

bool tcp_session_has_taken(const struct tcp_session *session, uint32_t index)
{
	return index / 64 < session->taken_words && session->taken[index / 64] >> (index % 64) & 1;
}

void tcp_session_take(struct tcp_session *session, uint32_t index)
{
	const struct beam_serve_images *images = session->server->images;
	uint32_t words = index / 64 + 1;

	if (words > session->taken_words) {
		uint32_t cap = words > 2 * session->taken_words ? words : 2 * session->taken_words;
		uint64_t *grown = realloc(session->taken, cap * sizeof(*grown));

		if (!grown)
			return; /* the segment then stays in use by this session */
		memset(grown + session->taken_words, 0,
		       (cap - session->taken_words) * sizeof(*grown));
		session->taken = grown;
		session->taken_words = cap;
	}
	session->taken[index / 64] |= 1ull << (index % 64);
	if (images->taken)
		images->taken(images->ctx, session->image, index);
}

static void put_answer(struct tcp_session *session, const struct tcp_request *request)
{
	struct beam_wire_message message = {.type = BEAM_WIRE_VALID,
					    .valid = {.tag = request->tag}};

	if (request->type == BEAM_WIRE_READ) {
		message.type = BEAM_WIRE_DATA;
		message.data.tag = request->tag;
		message.data.len_bytes = request->len_bytes;
		session->payload = request->base;
		session->payload_bytes = request->len_bytes;
		session->nreads--;
	}
	put(session, &message);
}

/* Moves requests to the output, up to the first one with a payload. */
static void answer(struct tcp_session *session)
{
	while (session->nrequests && !session->payload_bytes && has_room(session)) {
		struct tcp_request request = session->requests[session->first_request];

		session->first_request = (session->first_request + 1) % TCP_REQUESTS_MAX;
		session->nrequests--;
		if (request.type == BEAM_WIRE_TAKEN)
			tcp_session_take(session, request.tag);
		else
			put_answer(session, &request);
	}
}

/* Prepares output. Returns false when there is nothing to send. */
static bool fill(struct tcp_session *session)
{
	if (session->payload_bytes || channel_has_output(&session->channel))
		return true;
	if (session->state == SESSION_SERVED) {
		tell_taken_back(session);
		discover(session);
	}
	if (session->state == SESSION_SERVED)
		answer(session);
	if (session->state == SESSION_CLOSING && session->has_last && !session->payload_bytes &&
	    has_room(session)) {
		session->has_last = false;
		put(session, &session->last);
	}
	return session->payload_bytes || session->control_at < session->control_bytes;
}

/* Sends prepared output with one sendmsg. Returns the bytes sent; 0 when the rate limit makes it
 * wait; -errno. */
static ssize_t send_some(struct tcp_session *session)
{
	size_t control = session->control_bytes - session->control_at;
	uint32_t payload = session->payload_bytes;

	if (payload && session->state == SESSION_SERVED)
		payload = tcp_bucket_allow(session, payload);
	struct iovec iov[2] = {{session->control + session->control_at, control},
			       {(void *)(uintptr_t)session->payload, payload}};

	if (!control && !payload && !channel_has_output(&session->channel))
		return 0;
	int fault = BEAM_FAULT("tcp_serve_send");

	if (fault == BEAM_FAULT_SHORT)
		iov[1].iov_len = payload / 2;
	else if (fault < 0 && fault > -4096)
		return fault;
	bool last = session->state == SESSION_CLOSING && !session->has_last;
	ssize_t n = channel_send(&session->channel, iov, payload ? 2 : 1, last);

	if (n < 0)
		return n;
	if ((size_t)n < control) {
		session->control_at += (size_t)n;
		return n;
	}
	uint32_t sent = (uint32_t)((size_t)n - control);

	session->control_at = session->control_bytes = 0;
	if (!sent)
		return n;
	session->payload += sent;
	session->payload_bytes -= sent;
	if (session->state == SESSION_SERVED) {
		tcp_bucket_spend(session, sent);
		session->sent_bytes += sent;
		session->server->images->sent(session->server->images->ctx, session->image, sent);
	}
	return n;
}

static void watch(struct tcp_session *session, bool pending)
{
	uint32_t events = EPOLLIN | (pending && !session->in_line ? EPOLLOUT : 0);

	if (events == session->watched)
		return;
	session->watched = events;
	int err = beam_watch_modify(session->watch, events);

	if (err)
		tcp_session_cut(session, err);
}

void tcp_session_send(struct tcp_session *session)
{
	uint64_t turn_bytes = 0;
	ssize_t n = 0;

	if (session->state == SESSION_DEAD)
		return;
	while (turn_bytes < TURN_BYTES && fill(session)) {
		n = send_some(session);
		if (n <= 0)
			break;
		turn_bytes += (uint64_t)n;
	}
	if (n < 0 && n != -EAGAIN) {
		tcp_session_cut(session, n == -EPIPE || n == -ECONNRESET ? BEAM_E_GONE : (int)n);
		return;
	}
	bool pending = fill(session);
	uint64_t now = beam_now_ms();

	if (turn_bytes)
		session->active_ms = now;
	if (!pending || session->in_line)
		session->stalled_ms = 0;
	else if (turn_bytes || !session->stalled_ms)
		session->stalled_ms = now;
	/* Close only our sending side first: the peer reads the last message, then closes. We close
	 * after that (or after a moment), because closing with unread input would reset the
	 * connection. */
	if (!pending && session->state == SESSION_CLOSING)
		channel_finish(&session->channel);
	watch(session, pending);
}

void tcp_session_serve(struct tcp_session *session)
{
	(void)BEAM_FAULT("tcp_serve");
	session->state = SESSION_SERVED;
	session->discover = true;
	session->server->images->moved(session->server->images->ctx);
	if (!has_room(session)) {
		tcp_session_cut(session, BEAM_E_PROTO); /* it never read its queue positions */
		return;
	}
	put(session,
	    &(struct beam_wire_message){.type = BEAM_WIRE_WELCOME, .welcome = session->welcome});
	if (session->wants_near && session->server->lends)
		near_lender_open(&session->lender, session->channel.fd, session->nonce,
				 session->welcome.proof);
	tcp_session_send(session);
}

void tcp_session_take_back(struct tcp_session *session)
{
	if (session->state != SESSION_SERVED || !session->lender.has_lent)
		return;
	session->takes_back = true;
	tcp_session_send(session);
}

void tcp_session_wait(struct tcp_session *session, const struct beam_wire_waiting *place)
{
	if ((session->told.position == place->position &&
	     session->told.waiting == place->waiting) ||
	    !has_room(session))
		return;
	session->told = *place;
	put(session, &(struct beam_wire_message){.type = BEAM_WIRE_WAITING, .waiting = *place});
	tcp_session_send(session);
}

static void on_event(int fd, uint32_t events, void *arg)
{
	struct tcp_session *session = arg;
	struct tcp_server *server = session->server;

	(void)fd;
	tcp_server_enter(server);
	if (events & ~(uint32_t)EPOLLOUT)
		tcp_session_receive(session);
	tcp_session_send(session);
	tcp_server_leave(server);
}
