/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The reading end of a TCP session. Reads are answered in order, so the reads in flight form a
 * ring; the oldest one owns the next payload, which is received straight into its buffer. The same
 * receive call puts whatever follows that payload into a small buffer of our own.
 *
 * Segments that the server lends (near.h) are copied at once; the events say so later.
 */
#include "reader_talk.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "channel.h"
#include "clock.h"
#include "fault.h"
#include "near.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "tcp_connect.h"

/* Reads of 1 MiB: as much as can be on its way over a long distance if both kernels allow it. */
#define DEPTH_DEFAULT 32
#define DEPTH_MAX     64 /* the server accepts no more */
#define SILENCE_MS    30000
#define IN_BYTES      8192
#define NEAR_DEPTH    4 /* copies that wait to be reported */

struct flight {
	uint8_t *buf;
	uint32_t len_bytes;
	uint32_t tag;
	uint64_t cookie;
};

struct tcp_reader {
	struct beam_reader base;
	struct channel channel;
	struct reader_talk talk;
	uint32_t next_tag;

	uint32_t depth, first, nflights;
	struct flight flights[DEPTH_MAX]; /* ring */
	bool in_payload;                  /* of the first flight */
	uint32_t payload_done;

	struct near_borrower near;
	uint64_t copied[NEAR_DEPTH]; /* cookies of copies, to be reported */
	uint32_t ncopied;
	uint64_t near_told; /* bytes of it that the server knows of */
	uint64_t begun_ms;

	size_t in_at, in_bytes;
	uint8_t in[IN_BYTES];
	/* HELLO, one CHECK and a READ for each flight take less than half; the rest is for
	 * TAKENs. */
	size_t out_at, out_bytes;
	uint8_t out[(DEPTH_MAX + 4) * 128];
};

static struct tcp_reader *of(struct beam_reader *reader)
{
	return (struct tcp_reader *)reader;
}

static int fail_socket(struct tcp_reader *r, int err)
{
	if (err == -ECONNRESET || err == -EPIPE)
		return reader_talk_fail(&r->talk, BEAM_E_GONE, "%s closed the connection",
					r->talk.peer);
	return reader_talk_fail(&r->talk, err, "connection to %s: %s", r->talk.peer,
				beam_strerror(err));
}

/* ---- open ----------------------------------------------------------------------------------- */

static int flush(struct tcp_reader *r)
{
	while (r->out_at < r->out_bytes) {
		struct iovec iov = {r->out + r->out_at, r->out_bytes - r->out_at};
		ssize_t n = channel_send(&r->channel, &iov, 1, false);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		r->out_at += (size_t)n;
	}
	r->out_at = r->out_bytes = 0;
	if (channel_has_output(&r->channel)) {
		ssize_t n = channel_send(&r->channel, NULL, 0, false);

		if (n < 0 && n != -EAGAIN)
			return (int)n;
	}
	return 0;
}

static void queue(struct tcp_reader *r, const struct beam_wire_message *message)
{
	memmove(r->out, r->out + r->out_at, r->out_bytes - r->out_at);
	r->out_bytes -= r->out_at;
	r->out_at = 0;
	r->out_bytes += beam_wire_encode(message, r->out + r->out_bytes);
}

/* Queues a message and sends as much as the socket takes; `next` sends the rest. An error shows
 * there, too, after whatever the server may have sent before it. */
static void put(struct tcp_reader *r, const struct beam_wire_message *message)
{
	queue(r, message);
	(void)flush(r);
}

/* Goes out with the message after it: what the server knows when this reader is killed. */
static void queue_near(struct tcp_reader *r)
{
	if (r->near_told == r->near.bytes)
		return;
	r->near_told = r->near.bytes;
	queue(r, &(struct beam_wire_message){
		     .type = BEAM_WIRE_PROGRESS,
		     .done = {.bytes = r->near_told, .ms = beam_now_ms() - r->begun_ms}});
}

static int connect_channel(struct channel *channel, const struct beam_reader_opts *opts,
			   char error_text[BEAM_TEXT_BYTES])
{
	channel->fd = tcp_connect(opts, error_text);
	if (channel->fd < 0)
		return channel->fd;
	if (!opts->use_tls)
		return 0;
	int err = channel_connect_tls(channel, opts->id, opts->key, opts->connect_timeout_ms);

	if (!err)
		return 0;
	snprintf(error_text, BEAM_TEXT_BYTES,
		 "no TLS with %.100s port %u (%s): its rdbeamd does not know the ticket, or is of "
		 "another version; see its log",
		 opts->host, opts->port, beam_strerror(err));
	channel_close(channel);
	return err;
}

static int reader_open(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES],
		       struct beam_reader **out)
{
	struct tcp_reader *r = BEAM_FAULT("tcp_pull_open") ? NULL : calloc(1, sizeof(*r));

	if (!r) {
		snprintf(error_text, BEAM_TEXT_BYTES, "no memory for a pull from %.100s port %u",
			 opts->host, opts->port);
		return -ENOMEM;
	}
	int err = connect_channel(&r->channel, opts, error_text);

	if (err) {
		free(r);
		return err;
	}
	r->base.ops = &beam_tcp_reader;
	r->near.listener = r->near.sock = -1;
	r->depth = opts->depth ? opts->depth : DEPTH_DEFAULT;
	if (r->depth > DEPTH_MAX)
		r->depth = DEPTH_MAX;
	reader_talk_begin(&r->talk, opts);
	if (opts->near && near_is_host(r->channel.fd) &&
	    near_borrower_open(&r->near, r->talk.hello.nonce))
		r->talk.hello.flags |= BEAM_HELLO_NEAR;
	r->base.heard_ms = r->begun_ms = beam_now_ms();
	put(r, &(struct beam_wire_message){.type = BEAM_WIRE_HELLO, .hello = r->talk.hello});
	*out = &r->base;
	return 0;
}

/* Nothing to prepare: a socket can receive into any memory. */
static void reader_memory(struct beam_reader *reader, void *base, uint64_t len_bytes)
{
	(void)reader, (void)base, (void)len_bytes;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* True when the server owes us bytes, so that too long a silence ends the session. While others are
 * served before us, or when nothing was requested, the server may stay silent for as long as it
 * likes. */
static bool is_owed(const struct tcp_reader *r)
{
	return r->nflights || r->talk.checking || (!r->talk.welcomed && !r->talk.waiting);
}

static int reader_read(struct beam_reader *reader, uint32_t index, uint32_t offset, void *buf,
		       uint32_t len_bytes, uint64_t cookie)
{
	struct tcp_reader *r = of(reader);

	if (r->talk.failed)
		return r->talk.failed;
	if (!r->talk.welcomed || !len_bytes || len_bytes > r->talk.welcome.read_max)
		return -EINVAL;
	if (r->nflights == r->depth || r->ncopied == NEAR_DEPTH)
		return -EAGAIN;
	if (near_read(&r->near, index, offset, buf, len_bytes)) {
		r->base.near_bytes = r->near.bytes;
		r->copied[r->ncopied++] = cookie;
		return 0;
	}
	if (!is_owed(r))
		r->base.heard_ms = beam_now_ms();
	struct flight *flight = &r->flights[(r->first + r->nflights++) % DEPTH_MAX];

	*flight = (struct flight){
	    .buf = buf, .len_bytes = len_bytes, .tag = r->next_tag++, .cookie = cookie};
	put(r, &(struct beam_wire_message){.type = BEAM_WIRE_READ,
					   .read = {.index = index,
						    .offset = offset,
						    .len_bytes = len_bytes,
						    .tag = flight->tag}});
	return 0;
}

static int reader_check(struct beam_reader *reader)
{
	struct tcp_reader *r = of(reader);

	if (r->talk.failed)
		return r->talk.failed;
	if (!r->talk.welcomed)
		return -EINVAL;
	if (r->talk.checking)
		return 0; /* the pending answer also answers this one */
	if (!is_owed(r))
		r->base.heard_ms = beam_now_ms();
	r->talk.checking = true;
	put(r, &(struct beam_wire_message){.type = BEAM_WIRE_CHECK, .check = {.tag = r->next_tag}});
	return 0;
}

static void reader_taken(struct beam_reader *reader, uint32_t index)
{
	struct tcp_reader *r = of(reader);

	if (r->talk.failed || !r->talk.welcomed)
		return;
	/* Checksums are computed in parallel to the reads: many may finish while the socket takes
	 * nothing. */
	if (r->out_bytes - r->out_at > sizeof(r->out) / 2) {
		reader_talk_fail(&r->talk, BEAM_E_GONE, "%s takes no requests", r->talk.peer);
		return;
	}
	if (!r->out_bytes) /* else with a later one */
		queue_near(r);
	put(r, &(struct beam_wire_message){.type = BEAM_WIRE_TAKEN, .taken = {.index = index}});
}

/* ---- events --------------------------------------------------------------------------------- */

static int take_data(struct tcp_reader *r, const struct beam_wire_data *data)
{
	const struct flight *flight = &r->flights[r->first];

	if (!r->nflights || data->tag != flight->tag || data->len_bytes != flight->len_bytes)
		return reader_talk_fail_proto(&r->talk, "DATA that was not asked for");
	r->in_payload = true;
	r->payload_done = 0;
	return 0;
}

/* Handles one message. Returns 1 with *event, 0 if it makes no event, or a code. */
static int take(struct tcp_reader *r, const struct beam_wire_message *m,
		struct beam_reader_event *event)
{
	if (r->talk.welcomed && m->type == BEAM_WIRE_DATA)
		return take_data(r, &m->data);
	if (r->talk.welcomed && m->type == BEAM_WIRE_LENT && r->near.listener >= 0) {
		if (m->lent.index == BEAM_LENT_NONE)
			near_give_back(&r->near);
		else
			near_borrow(&r->near, &m->lent, r->talk.welcome.proof);
		return 0;
	}
	return reader_talk_take(&r->talk, m, event);
}

/* Takes buffered payload; returns true with the DONE event when the first flight's payload is
 * complete. */
static bool take_payload(struct tcp_reader *r, struct beam_reader_event *event)
{
	struct flight *flight = &r->flights[r->first];
	size_t buffered = r->in_bytes - r->in_at;
	size_t left = flight->len_bytes - r->payload_done;
	size_t n = left < buffered ? left : buffered;

	memcpy(flight->buf + r->payload_done, r->in + r->in_at, n);
	r->in_at += n;
	r->payload_done += (uint32_t)n;
	if (r->payload_done < flight->len_bytes)
		return false;
	event->type = BEAM_READER_DONE;
	event->cookie = flight->cookie;
	r->in_payload = false;
	r->first = (r->first + 1) % DEPTH_MAX;
	r->nflights--;
	return true;
}

/* Parses the bytes received so far. Returns 1 with an event, 0 when more bytes are needed, or a
 * code. */
static int parse(struct tcp_reader *r, struct beam_reader_event *event)
{
	for (;;) {
		struct beam_wire_message message;

		if (r->in_payload)
			return take_payload(r, event);
		int n = beam_wire_decode(r->in + r->in_at, r->in_bytes - r->in_at, &message);

		if (n == 0)
			return 0;
		if (n < 0)
			return reader_talk_fail_proto(&r->talk, "a malformed message");
		r->in_at += (size_t)n;
		n = take(r, &message, event);
		if (n)
			return n;
	}
}

/* Receives once. Returns 0, -EAGAIN, or the code of a failure (which is recorded). */
static int receive(struct tcp_reader *r)
{
	struct flight *flight = &r->flights[r->first];
	uint32_t payload = r->in_payload ? flight->len_bytes - r->payload_done : 0;

	memmove(r->in, r->in + r->in_at, r->in_bytes - r->in_at);
	r->in_bytes -= r->in_at;
	r->in_at = 0;
	struct iovec iov[2] = {
	    {r->in_payload ? flight->buf + r->payload_done : NULL, payload},
	    {r->in + r->in_bytes, sizeof(r->in) - r->in_bytes},
	};
	int fault = BEAM_FAULT("tcp_pull_recv");

	if (fault < 0 && fault > -4096)
		return fail_socket(r, fault);
	ssize_t n = channel_recv(&r->channel, iov, 2);

	if (n == -EAGAIN)
		return -EAGAIN;
	if (n < 0)
		return fail_socket(r, (int)n);
	if (n == 0)
		return fail_socket(r, -ECONNRESET);
	r->base.heard_ms = beam_now_ms();
	if ((size_t)n <= payload) {
		r->payload_done += (uint32_t)n;
	} else {
		r->payload_done += payload;
		r->in_bytes += (size_t)n - payload;
	}
	if (fault == BEAM_FAULT_FLIP && payload)
		flight->buf[r->payload_done - 1] ^= 1;
	return 0;
}

/* Waits for bytes until the caller's deadline, or until the server has been silent for too long. */
static int wait_bytes(struct tcp_reader *r, uint64_t deadline, int timeout_ms)
{
	uint64_t now = beam_now_ms();
	int64_t wait_ms = timeout_ms < 0 ? -1 : now < deadline ? (int64_t)(deadline - now) : 0;
	bool ours = false;

	if (is_owed(r)) {
		uint64_t end = r->base.heard_ms + SILENCE_MS;
		int64_t silence_ms = now < end ? (int64_t)(end - now) : 0;

		ours = wait_ms < 0 || silence_ms <= wait_ms;
		if (ours)
			wait_ms = silence_ms;
	}
	bool pending = r->out_bytes || channel_has_output(&r->channel);
	int err = beam_wait_for(r->channel.fd, POLLIN | (pending ? POLLOUT : 0), wait_ms);

	if (err == -ETIMEDOUT && ours)
		return reader_talk_fail(&r->talk, -ETIMEDOUT,
					"%s was silent for %d s: the network or the primary hangs",
					r->talk.peer, SILENCE_MS / 1000);
	if (err && err != -ETIMEDOUT)
		return fail_socket(r, err);
	return err;
}

/* Reports a copy. What the server has sent comes first: it may have ended the session. */
static bool take_copied(struct tcp_reader *r, struct beam_reader_event *event)
{
	if (!r->ncopied)
		return false;
	event->type = BEAM_READER_DONE;
	event->cookie = r->copied[0];
	memmove(r->copied, r->copied + 1, --r->ncopied * sizeof(r->copied[0]));
	return true;
}

static int reader_next(struct beam_reader *reader, struct beam_reader_event *event, int timeout_ms)
{
	struct tcp_reader *r = of(reader);
	uint64_t deadline = beam_now_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);

	if (r->talk.failed)
		return r->talk.failed;
	for (;;) {
		int n = parse(r, event);

		if (n)
			return n;
		n = receive(r);
		if (!n)
			continue;
		if (n != -EAGAIN)
			return n;
		n = flush(r);
		if (n)
			return fail_socket(r, n);
		if (take_copied(r, event))
			return 1;
		n = wait_bytes(r, deadline, timeout_ms);
		if (n == -ETIMEDOUT && !r->talk.failed)
			return 0;
		if (n)
			return n;
	}
}

static const char *reader_error(const struct beam_reader *reader)
{
	return ((const struct tcp_reader *)reader)->talk.error;
}

static void reader_close(struct beam_reader **reader, uint64_t bytes, uint64_t ms)
{
	if (!*reader)
		return;
	struct tcp_reader *r = of(*reader);

	bool done =
	    !r->talk.failed && r->talk.complete && !r->nflights && bytes >= r->talk.image_bytes;

	if (done) {
		queue_near(r);
		put(r, &(struct beam_wire_message){.type = BEAM_WIRE_DONE,
						   .done = {.bytes = bytes, .ms = ms}});
	}
	channel_close(&r->channel);
	near_borrower_close(&r->near);
	explicit_bzero(r->talk.key, sizeof(r->talk.key));
	free(r);
	*reader = NULL;
}

static int reader_fd(const struct beam_reader *reader)
{
	return ((const struct tcp_reader *)reader)->channel.fd;
}

const struct beam_reader_ops beam_tcp_reader = {
    .name = "tcp",
    .open = reader_open,
    .memory = reader_memory,
    .read = reader_read,
    .check = reader_check,
    .taken = reader_taken,
    .next = reader_next,
    .error = reader_error,
    .close = reader_close,
    .fd = reader_fd,
};
