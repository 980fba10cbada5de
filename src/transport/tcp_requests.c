/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Handles the reader's messages one by one, each checked against the session's state and the
 * image's bounds.
 */
#include "tcp_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "server_talk.h"

#define INPUT_TURNS 4

static void broken(struct tcp_session *session, const char *text)
{
	tcp_session_end(session, BEAM_WIRE_FAILED, BEAM_E_PROTO, text);
}

static void take_hello(struct tcp_session *session, const struct beam_wire_hello *hello)
{
	char text[BEAM_TEXT_BYTES] = "";
	int err = BEAM_FAULT("tcp_hello");

	err = err ? err
		  : server_talk_hello(session->server->images, hello, session->peer,
				      BEAM_HELLO_VOUCHED | BEAM_HELLO_NEAR, &session->image,
				      &session->welcome, text);

	session->vouched = hello->flags & BEAM_HELLO_VOUCHED;
	session->wants_near = hello->flags & BEAM_HELLO_NEAR;
	memcpy(session->nonce, hello->nonce, sizeof(session->nonce));
	if (err)
		tcp_session_end(session, BEAM_WIRE_REFUSED, err, text);
	else
		tcp_server_admit(session);
}

static void queue_request(struct tcp_session *session, struct tcp_request request)
{
	uint32_t at = (session->first_request + session->nrequests) % TCP_REQUESTS_MAX;

	if (session->nrequests == TCP_REQUESTS_MAX) {
		broken(session, "too many requests at once");
		return;
	}
	session->requests[at] = request;
	session->nrequests++;
}

/* True when the reader has sent TAKEN for the segment, whether it was processed or still waits
 * behind READs. */
static bool taken(const struct tcp_session *session, uint32_t index)
{
	for (uint32_t i = 0; i < session->nrequests; i++) {
		const struct tcp_request *request =
		    &session->requests[(session->first_request + i) % TCP_REQUESTS_MAX];

		if (request->type == BEAM_WIRE_TAKEN && request->tag == index)
			return true;
	}
	return tcp_session_has_taken(session, index);
}

static void take_read(struct tcp_session *session, const struct beam_wire_read *read)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_serve_segment segment;
	char text[BEAM_TEXT_BYTES];
	int err = images->segment(images->ctx, session->image, read->index, &segment);

	if (!err && taken(session, read->index))
		err = BEAM_E_STALE;
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
	if (session->nreads == TCP_READS_MAX) {
		broken(session, "more than 64 READs at once");
		return;
	}
	session->nreads++;
	queue_request(session, (struct tcp_request){
				   .type = BEAM_WIRE_READ,
				   .base = (const uint8_t *)segment.base + read->offset,
				   .len_bytes = read->len_bytes,
				   .tag = read->tag,
			       });
}

static void take_taken(struct tcp_session *session, uint32_t index)
{
	const struct beam_serve_images *images = session->server->images;
	struct beam_serve_segment segment;

	if (images->segment(images->ctx, session->image, index, &segment) ||
	    taken(session, index)) {
		broken(session, "TAKEN of a segment that it did not have to read");
		return;
	}
	/* Near readers send many of these and no READs. */
	if (!session->nrequests && !session->payload_bytes)
		tcp_session_take(session, index);
	else
		queue_request(session, (struct tcp_request){.type = BEAM_WIRE_TAKEN, .tag = index});
}

/* The reader reports what it has copied from lent memory so far. A number that is less than before,
 * or from a reader that got nothing, is not believed. */
static void take_progress(struct tcp_session *session, uint64_t bytes)
{
	const struct beam_serve_images *images = session->server->images;

	if (bytes < session->near_bytes || !session->lender.has_lent) {
		broken(session, "PROGRESS that cannot be");
		return;
	}
	session->sent_bytes += bytes - session->near_bytes;
	images->sent(images->ctx, session->image, bytes - session->near_bytes);
	session->near_bytes = bytes;
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
		queue_request(session, (struct tcp_request){.type = BEAM_WIRE_CHECK,
							    .tag = message->check.tag});
		break;
	case BEAM_WIRE_TAKEN:
		take_taken(session, message->taken.index);
		break;
	case BEAM_WIRE_PROGRESS:
		take_progress(session, message->done.bytes);
		break;
	case BEAM_WIRE_DONE:
		tcp_session_cut(session, 0);
		break;
	default:
		broken(session, "message that a reader does not send");
		break;
	}
}

/* A peer whose first bytes are not a message is no reader and would not understand an answer. */
static void malformed(struct tcp_session *session)
{
	if (session->state != SESSION_HELLO) {
		broken(session, "malformed message");
		return;
	}
	beam_log(BEAM_LOG_INFO, "connection from %s closed: it is not a pull", session->peer);
	tcp_session_cut(session, BEAM_E_PROTO);
}

static void take_messages(struct tcp_session *session)
{
	size_t at = 0;

	while (session->state < SESSION_CLOSING) {
		struct beam_wire_message message;
		int n = beam_wire_decode(session->in + at, session->in_bytes - at, &message);

		if (n < 0)
			malformed(session);
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

static int key_of(void *arg, const uint8_t id[BEAM_TICKET_ID_BYTES],
		  uint8_t key[BEAM_TICKET_KEY_BYTES])
{
	struct tcp_session *session = arg;
	const struct beam_serve_images *images = session->server->images;

	return images->ticket_key(images->ctx, id, session->peer, key);
}

/* Tells a plain HELLO from a TLS handshake by its first byte. Returns false when nothing has
 * arrived yet, or when the session has ended. */
static bool learn_channel(struct tcp_session *session)
{
	uint8_t first;
	ssize_t n = recv(session->channel.fd, &first, 1, MSG_DONTWAIT | MSG_PEEK);
	int err = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		tcp_session_cut(session, BEAM_E_GONE);
		return false;
	}
	session->knows_channel = true;
	if (first == CHANNEL_TLS_FIRST_BYTE)
		err = channel_accept_tls(&session->channel, key_of, session);
	else if (session->server->must_tls)
		tcp_session_end(session, BEAM_WIRE_REFUSED, BEAM_E_DENIED,
				"pulls from this primary must use TLS (rdbeam.tls): the ticket "
				"says so; install the same rdbeam on both hosts");
	if (err)
		tcp_session_cut(session, err);
	return !err;
}

void tcp_session_receive(struct tcp_session *session)
{
	if (!session->knows_channel && !learn_channel(session))
		return;
	/* Bytes that OpenSSL already holds are taken now, since the socket will not report them
	 * again. */
	bool more = true;

	for (int turn = 0; session->state != SESSION_DEAD && more &&
			   (turn < INPUT_TURNS || channel_has_input(&session->channel));
	     turn++) {
		/* A message is smaller than the buffer, so there is always room. */
		struct iovec iov = {session->in + session->in_bytes,
				    sizeof(session->in) - session->in_bytes};
		ssize_t n = channel_recv(&session->channel, &iov, 1);
		int fault = n > 0 ? BEAM_FAULT("tcp_serve_recv") : 0;

		n = fault ? fault : n;

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			tcp_session_cut(session, n == 0 || n == -ECONNRESET ? BEAM_E_GONE : (int)n);
			return;
		}
		/* After a short read epoll reports new bytes again. OpenSSL, however, reads by
		 * records, so a short read means nothing there. */
		more = session->channel.tls || (size_t)n == iov.iov_len;
		if (session->state == SESSION_CLOSING)
			continue; /* discarded: the next receive overwrites it */
		session->active_ms = beam_now_ms();
		session->in_bytes += (size_t)n;
		take_messages(session);
	}
}
