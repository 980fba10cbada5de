/* SPDX-License-Identifier: BSD-3-Clause
 * One reader's connection. In: messages, handled one by one, each checked against the state. Out:
 * control bytes from a small buffer, payload straight from the segment's memory; sendmsg copies it
 * into the socket, so that nothing refers to that memory once the call is over (no MSG_ZEROCOPY: a
 * fence would have to wait for the peer). Requests are answered in their order. */
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

#define TURN_BYTES  (8u << 20) /* sent by one session before others get their turn */
#define INPUT_TURNS 4

static void on_event(int fd, uint32_t events, void *arg);

int tcp_session_start(struct tcp_server *server, int fd, const char *peer)
{
	struct tcp_session *session = calloc(1, sizeof(*session));
	struct tcp_session **at = &server->sessions;
	int err = -ENOMEM;

	if (!session)
		goto close_fd;
	session->server = server;
	session->fd = fd;
	session->state = SESSION_HELLO;
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
	free(session->unsealed);
	session->unsealed = NULL;
	session->nunsealed = session->unsealed_cap = 0;
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
	beam_close(&session->fd);
	free(session->own_payload);
	session->own_payload = NULL;
	detach(session, code);
}

/* What is left of a DATA that is under way must still go out, or the last message behind it would
 * be taken for payload; it is copied, because the image goes now. */
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

/* The caller has asked has_room. */
static void put(struct tcp_session *session, const struct beam_wire_message *message)
{
	session->control_bytes +=
	    beam_wire_encode(message, session->control + session->control_bytes);
}

/* Tells segment `index` if it is sealed. 1 told, 0 not sealed yet, or the image's error. */
static int tell_sealed(struct tcp_session *session, uint32_t index)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_serve_segment segment;
	int err = images->segment(images->ctx, session->image, index, &segment);

	if (err)
		return err == -EAGAIN || err == -ERANGE ? 0 : err;
	put(session,
	    &(struct beam_wire_message){
		.type = BEAM_WIRE_SEALED,
		.sealed = {.index = index, .len_bytes = segment.len_bytes, .crc = segment.crc}});
	return 1;
}

static int remember_unsealed(struct tcp_session *session, uint32_t index)
{
	if (session->nunsealed == session->unsealed_cap) {
		uint32_t cap = session->unsealed_cap ? 2 * session->unsealed_cap : 64;
		uint32_t *grown = realloc(session->unsealed, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		session->unsealed = grown;
		session->unsealed_cap = cap;
	}
	session->unsealed[session->nunsealed++] = index;
	return 0;
}

/* Looks at the indices that were claimed but not sealed last time, then at those claimed since: the
 * work is by what is new, not by the size of the image. Stops when the buffer is full and goes on
 * when it is sent. 1 when all there is has been told, 0 when the buffer is full, or an error. */
static int tell_segments(struct tcp_session *session)
{
	const struct beam_serve_images *images = session->server->images;

	for (uint32_t i = 0; i < session->nunsealed;) {
		if (!has_room(session))
			return 0;
		int told = tell_sealed(session, session->unsealed[i]);

		if (told < 0)
			return told;
		if (told)
			session->unsealed[i] = session->unsealed[--session->nunsealed];
		else
			i++;
	}
	while (session->next_index < images->claimed(images->ctx, session->image)) {
		if (!has_room(session))
			return 0;
		int told = tell_sealed(session, session->next_index);

		if (told == 0)
			told = remember_unsealed(session, session->next_index);
		if (told < 0)
			return told;
		session->next_index++;
	}
	return 1;
}

static void discover(struct tcp_session *session)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_wire_message whole = {.type = BEAM_WIRE_COMPLETE};

	if (!session->discover)
		return;
	/* Asked first: what is sealed when it says yes is all there is. */
	bool complete = images->complete(images->ctx, session->image, &whole.complete);
	int told = tell_segments(session);

	if (told < 0) {
		tcp_session_end(session, told == BEAM_E_STALE ? BEAM_WIRE_STALE : BEAM_WIRE_FAILED,
				told, beam_strerror(told));
		return;
	}
	if (told == 0 || (complete && !has_room(session)))
		return;
	session->discover = false;
	if (complete && !session->told_complete) {
		session->told_complete = true;
		put(session, &whole);
	}
}

/* Moves requests into the output, up to the first with a payload. */
static void answer(struct tcp_session *session)
{
	while (session->nrequests && !session->payload_bytes && has_room(session)) {
		struct tcp_request *request = &session->requests[session->first_request];
		struct beam_wire_message message = {.type = BEAM_WIRE_VALID,
						    .valid = {.tag = request->tag}};

		if (request->base) {
			message.type = BEAM_WIRE_DATA;
			message.data.tag = request->tag;
			message.data.len_bytes = request->len_bytes;
			session->payload = request->base;
			session->payload_bytes = request->len_bytes;
			session->nreads--;
		}
		put(session, &message);
		session->first_request = (session->first_request + 1) % TCP_REQUESTS_MAX;
		session->nrequests--;
	}
}

/* Makes sure that what can be sent lies ready. False when there is nothing. */
static bool fill(struct tcp_session *session)
{
	if (session->payload_bytes)
		return true;
	if (session->state == SESSION_SERVED)
		discover(session);
	if (session->state == SESSION_SERVED)
		answer(session);
	if (session->state == SESSION_CLOSING && session->has_last && !session->payload_bytes &&
	    has_room(session)) {
		session->has_last = false;
		put(session, &session->last);
	}
	return session->payload_bytes || session->control_at < session->control_bytes;
}

/* One sendmsg of what lies ready. Bytes sent; 0 when the rate has to wait; -errno. */
static ssize_t send_some(struct tcp_session *session)
{
	size_t control = session->control_bytes - session->control_at;
	uint32_t payload = session->payload_bytes;

	if (payload && session->state == SESSION_SERVED)
		payload = tcp_bucket_allow(session, payload);
	struct iovec iov[2] = {{session->control + session->control_at, control},
			       {(void *)(uintptr_t)session->payload, payload}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = payload ? 2 : 1};

	if (!control && !payload)
		return 0;
	int fault = BEAM_FAULT("tcp_serve_send");

	if (fault == BEAM_FAULT_SHORT)
		iov[1].iov_len = payload / 2;
	else if (fault < 0 && fault > -4096)
		return fault;
	ssize_t n = sendmsg(session->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return -errno;
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
		if (n == -EINTR)
			continue;
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
	/* Closed by halves: the peer reads the last message, then closes; only then (or after a
	 * moment) do we, because a close with unread input would reset the connection. */
	if (!pending && session->state == SESSION_CLOSING)
		shutdown(session->fd, SHUT_WR);
	watch(session, pending);
}

void tcp_session_serve(struct tcp_session *session)
{
	session->state = SESSION_SERVED;
	session->discover = true;
	if (!has_room(session)) {
		tcp_session_cut(session, BEAM_E_PROTO); /* never took its positions */
		return;
	}
	put(session,
	    &(struct beam_wire_message){.type = BEAM_WIRE_WELCOME, .welcome = session->welcome});
	tcp_session_send(session);
}

void tcp_session_wait(struct tcp_session *session, uint32_t position)
{
	if (session->told_position == position || !has_room(session))
		return;
	session->told_position = position;
	put(session, &(struct beam_wire_message){.type = BEAM_WIRE_WAITING,
						 .waiting = {.position = position}});
	tcp_session_send(session);
}

/* ---- in ------------------------------------------------------------------------------------- */

static void broken(struct tcp_session *session, const char *text)
{
	tcp_session_end(session, BEAM_WIRE_FAILED, BEAM_E_PROTO, text);
}

static const char *refusal(int code)
{
	switch (code) {
	case BEAM_E_DENIED:
		return "ticket refused: it was used, is over, or was given to another address; "
		       "ask for a new one with RDBEAM.TICKET";
	case BEAM_E_STALE:
		return "the ticket's generation is gone; ask for a new one with RDBEAM.TICKET";
	default:
		return beam_strerror(code);
	}
}

static void take_hello(struct tcp_session *session, const struct beam_wire_hello *hello)
{
	const struct beam_serve_images *images = session->server->images;
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	char text[BEAM_TEXT_BYTES];

	if (hello->version != BEAM_WIRE_VERSION || hello->flags) {
		snprintf(text, sizeof(text),
			 "protocol version %u with flags %u is not spoken here, only version %d "
			 "with flags 0: install the same rdbeam on both hosts",
			 hello->version, hello->flags, BEAM_WIRE_VERSION);
		tcp_session_end(session, BEAM_WIRE_REFUSED, BEAM_E_VERSION, text);
		return;
	}
	int err = images->authorize(images->ctx, hello, session->peer, key, &session->image);

	if (err) {
		session->image = NULL;
		tcp_session_end(session, BEAM_WIRE_REFUSED, err, refusal(err));
		return;
	}
	struct beam_wire_welcome *welcome = &session->welcome;

	images->describe(images->ctx, session->image, &welcome->gen, &welcome->segment_bytes);
	welcome->read_max = welcome->segment_bytes < BEAM_WIRE_READ_MAX ? welcome->segment_bytes
									: BEAM_WIRE_READ_MAX;
	beam_wire_prove_welcome(key, hello, welcome);
	explicit_bzero(key, sizeof(key));
	session->state = SESSION_WAITING;
	tcp_server_admit(session);
}

static void queue_request(struct tcp_session *session, const uint8_t *base, uint32_t len_bytes,
			  uint32_t tag)
{
	uint32_t at = (session->first_request + session->nrequests) % TCP_REQUESTS_MAX;

	session->requests[at] =
	    (struct tcp_request){.base = base, .len_bytes = len_bytes, .tag = tag};
	session->nrequests++;
}

static void take_read(struct tcp_session *session, const struct beam_wire_read *read)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_serve_segment segment;
	char text[BEAM_TEXT_BYTES];
	int err = images->segment(images->ctx, session->image, read->index, &segment);

	if (err == BEAM_E_STALE) {
		tcp_session_end(session, BEAM_WIRE_STALE, err, beam_strerror(err));
		return;
	}
	if (err) {
		snprintf(text, sizeof(text), "READ of segment %u, which is not sealed",
			 read->index);
		broken(session, text);
		return;
	}
	if (!read->len_bytes || read->len_bytes > session->welcome.read_max ||
	    read->offset > segment.len_bytes ||
	    read->len_bytes > segment.len_bytes - read->offset) {
		snprintf(text, sizeof(text),
			 "READ of %u bytes at %u of segment %u, which has %u; most in one READ: %u",
			 read->len_bytes, read->offset, read->index, segment.len_bytes,
			 session->welcome.read_max);
		broken(session, text);
		return;
	}
	if (session->nreads == TCP_READS_MAX || session->nrequests == TCP_REQUESTS_MAX) {
		broken(session, "more than 64 READs at once");
		return;
	}
	session->nreads++;
	queue_request(session, (const uint8_t *)segment.base + read->offset, read->len_bytes,
		      read->tag);
}

static void take_message(struct tcp_session *session, const struct beam_wire_message *message)
{
	if (session->state == SESSION_HELLO && message->type == BEAM_WIRE_HELLO) {
		take_hello(session, &message->hello);
		return;
	}
	if (session->state != SESSION_SERVED) {
		broken(session, "message before WELCOME");
		return;
	}
	switch (message->type) {
	case BEAM_WIRE_READ:
		take_read(session, &message->read);
		break;
	case BEAM_WIRE_CHECK:
		if (session->nrequests == TCP_REQUESTS_MAX)
			broken(session, "too many CHECKs at once");
		else
			queue_request(session, NULL, 0, message->check.tag);
		break;
	case BEAM_WIRE_DONE:
		tcp_session_cut(session, 0);
		break;
	default:
		broken(session, "message that a reader does not send");
		break;
	}
}

static void take_messages(struct tcp_session *session)
{
	size_t at = 0;

	while (session->state < SESSION_CLOSING) {
		struct beam_wire_message message;
		int n = beam_wire_decode(session->in + at, session->in_bytes - at, &message);

		if (n < 0)
			broken(session, "malformed message");
		if (n <= 0)
			break;
		at += (size_t)n;
		take_message(session, &message);
	}
	if (session->state >= SESSION_CLOSING)
		return;
	memmove(session->in, session->in + at, session->in_bytes - at);
	session->in_bytes -= at;
}

static void receive(struct tcp_session *session)
{
	for (int turn = 0; turn < INPUT_TURNS && session->state != SESSION_DEAD; turn++) {
		/* A message is smaller than the buffer, so there is always room. */
		ssize_t n = recv(session->fd, session->in + session->in_bytes,
				 sizeof(session->in) - session->in_bytes, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			tcp_session_cut(session,
					n == 0 || errno == ECONNRESET ? BEAM_E_GONE : -errno);
			return;
		}
		if (session->state == SESSION_CLOSING)
			continue; /* overwritten by the next */
		session->active_ms = beam_now_ms();
		session->in_bytes += (size_t)n;
		take_messages(session);
	}
}

static void on_event(int fd, uint32_t events, void *arg)
{
	struct tcp_session *session = arg;
	struct tcp_server *server = session->server;

	(void)fd;
	tcp_server_enter(server);
	if (events & ~(uint32_t)EPOLLOUT)
		receive(session);
	tcp_session_send(session);
	tcp_server_leave(server);
}
