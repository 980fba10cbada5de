/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The feed's side of a full resync, as the target sees it:
 *
 *   target                      feed
 *   PING, AUTH, REPLCONF ...  --->
 *                             <---  +PONG, +OK
 *   PSYNC id offset           --->
 *                             <---  +FULLRESYNC id offset, then newlines until there is data
 *                             <---  $<length> image     or   $EOF:<mark> image <mark>
 *   REPLCONF ACK offset       --->  (the image is loaded)
 *                             <---  stream
 *
 * After $EOF the stream must not start before the first ACK, or the target waits for ever (Redis
 * 7.0.15, readSyncBulkPayload).
 *
 * The target blocks in its read while it loads. The thread that fetches the image must therefore
 * never wait for an answer from the target: the target would be waiting for the image.
 */
#include "feed.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "fault.h"
#include "feed_link.h"
#include "feed_listen.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "tell.h"

#define MARK_BYTES       40
#define CHUNK_BYTES      (256u << 10)
#define NEWLINE_EVERY_MS 1000
#define TLS_HANDSHAKE    0x16 /* the first byte sent by a target that connects by TLS */

struct beam_feed {
	struct beam_feed_opts opts;
	struct beam_feed_listen listen;
	int changed; /* eventfd that wakes the owner */
	pthread_t thread;
	bool started;

	struct beam_feed_link link; /* used by the thread only */
	uint8_t *out;               /* CHUNK_BYTES, a buffer for the stream */
	char mark[MARK_BYTES + 1];
	uint8_t held[BEAM_HELD_BYTES]; /* bytes of the image held back, not sent yet */
	uint32_t nheld, held_at;

	pthread_mutex_t lock;
	bool released;
	struct beam_feed_status status;
	char error[BEAM_REDIS_ERROR_BYTES];
};

static void signal_fd(int fd)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the fd is readable already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/* Records the code and line that end the feed, unless a line is recorded already. */
static int failed(struct beam_feed *feed, int code, const char *what)
{
	pthread_mutex_lock(&feed->lock);
	beam_tell(feed->error, code, "feeding the target: %s", what);
	pthread_mutex_unlock(&feed->lock);
	return code;
}

/* Waits for the target to connect and completes the handshake. The target may connect more than
 * once, so after a failed handshake wait for it again, unless the failure is sure to repeat. */
static int meet(struct beam_feed *feed)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)feed->opts.timeout_ms;
	char line[128];

	snprintf(line, sizeof(line), "+FULLRESYNC %s %lld\r\n", feed->opts.replid,
		 (long long)feed->opts.offset);
	for (;;) {
		uint64_t now = beam_now_ms();
		int rc = now < deadline ? beam_feed_link_wait(&feed->link, feed->listen.fd, POLLIN,
							      (int)(deadline - now))
					: 0;

		if (rc == 0)
			return failed(feed, -ETIMEDOUT,
				      "the target did not connect to the address given to it by "
				      "REPLICAOF (firewall? run rdbeam on the target's host)");
		if (rc < 0)
			return rc;
		feed->link.sock = beam_feed_accept(&feed->listen);
		if (feed->link.sock < 0)
			continue;
		rc = beam_feed_link_handshake(&feed->link, line, deadline);
		if (!rc || rc == BEAM_E_ABORTED)
			return rc;
		beam_close(&feed->link.sock);
		if (rc == BEAM_E_PROTO && feed->link.in[0] == TLS_HANDSHAKE)
			return failed(
			    feed, rc,
			    "it connects by TLS (tls-replication yes), and this user may not read "
			    "or change that setting (grant +config|get +config|set)");
		if (rc == BEAM_E_DENIED)
			return failed(feed, rc,
				      "the primary wants a password, and it has no masterauth (set "
				      "masterauth and masteruser in its configuration file and "
				      "restart it, or grant +config|get +config|set)");
	}
}

static int send_begin(struct beam_feed *feed)
{
	char line[MARK_BYTES + 16];
	uint8_t random[MARK_BYTES / 2];

	if (feed->opts.image.length_bytes) {
		snprintf(line, sizeof(line), "$%llu\r\n",
			 (unsigned long long)feed->opts.image.length_bytes);
		return beam_feed_link_text(&feed->link, line);
	}
	beam_random(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(feed->mark + 2 * i, 3, "%02x", random[i]);
	snprintf(line, sizeof(line), "$EOF:%s\r\n", feed->mark);
	return beam_feed_link_text(&feed->link, line);
}

static void note_fed(struct beam_feed *feed, uint32_t len_bytes)
{
	pthread_mutex_lock(&feed->lock);
	feed->status.fed_bytes += len_bytes;
	pthread_mutex_unlock(&feed->lock);
	signal_fd(feed->changed);
}

static void note_begun(struct beam_feed *feed)
{
	pthread_mutex_lock(&feed->lock);
	feed->status.payload_begun = true;
	feed->status.first_byte_ms = beam_now_ms();
	pthread_mutex_unlock(&feed->lock);
}

/* Sends up to `most` of the bytes that were held back. */
static int send_held(struct beam_feed *feed, uint32_t most)
{
	uint32_t left = feed->nheld - feed->held_at;
	uint32_t n = left < most ? left : most;

	feed->held_at += n;
	return beam_feed_link_send(&feed->link, feed->held + feed->held_at - n, n);
}

static bool may_hold(const struct beam_feed *feed)
{
	const struct beam_image_source *image = &feed->opts.image;

	return feed->opts.hold_back && !(image->at_once && image->at_once(image->ctx));
}

/* Sends a piece except for its last bytes, which are held back so that there is something to send
 * while the next piece is not there yet. */
static int send_piece(struct beam_feed *feed, const uint8_t *base, uint32_t len)
{
	uint32_t most = len < BEAM_HELD_BYTES ? len : BEAM_HELD_BYTES;
	uint32_t hold = may_hold(feed) ? most : 0;
	int rc = send_held(feed, BEAM_HELD_BYTES);

	feed->nheld = hold;
	feed->held_at = 0;
	memcpy(feed->held, base + len - hold, hold);
	return rc ? rc : beam_feed_link_send(&feed->link, base, len - hold);
}

/* Keeps the target's link alive while there is nothing to send. Its repl-timeout counts from the
 * last byte received. Newlines reset it only before the payload; within the payload we send one
 * byte of the payload that was held back. */
static int send_sign(struct beam_feed *feed, bool begun)
{
	return begun ? send_held(feed, 1) : beam_feed_link_text(&feed->link, "\n");
}

/* Sends the whole image as the payload. */
static int send_image(struct beam_feed *feed)
{
	struct beam_image_source *image = &feed->opts.image;
	bool begun = false;

	for (;;) {
		const uint8_t *base;
		uint32_t len;
		int rc = image->next(image->ctx, &base, &len, NEWLINE_EVERY_MS);

		if (beam_feed_link_stopped(&feed->link))
			return BEAM_E_ABORTED;
		if (rc == -ETIMEDOUT) {
			rc = send_sign(feed, begun);
			if (rc)
				return rc;
			continue;
		}
		if (rc == 0) {
			rc = send_held(feed, BEAM_HELD_BYTES);
			return rc ? rc : beam_feed_link_text(&feed->link, feed->mark);
		}
		if (rc < 0)
			return rc;
		if (!begun) {
			note_begun(feed);
			rc = send_begin(feed);
			if (rc < 0)
				return rc;
			begun = true;
		}
		(void)BEAM_FAULT("feed-segment");
		rc = send_piece(feed, base, len);
		if (rc)
			return rc;
		image->release(image->ctx);
		note_fed(feed, len);
	}
}

static void on_ack(struct beam_feed *feed, const struct beam_resp_command *command)
{
	int64_t offset = 0;

	for (size_t i = 0; i < command->args[2].len_bytes && i < 18; i++) {
		uint8_t c = command->args[2].at[i];

		if (c < '0' || c > '9')
			return;
		offset = offset * 10 + (c - '0');
	}
	(void)BEAM_FAULT("feed-ack");
	pthread_mutex_lock(&feed->lock);
	feed->status.acked_offset = offset;
	if (!feed->status.loaded) {
		feed->status.loaded = true;
		feed->status.loaded_ms = beam_now_ms();
	}
	pthread_mutex_unlock(&feed->lock);
	signal_fd(feed->changed);
}

static int read_acks(struct beam_feed *feed)
{
	struct beam_resp_command command;
	int rc = beam_feed_link_receive(&feed->link);

	while (!rc) {
		int used = beam_feed_link_next(&feed->link, &command);

		if (used <= 0)
			return used;
		if (beam_resp_is(&command, 0, "REPLCONF") && beam_resp_is(&command, 1, "ACK") &&
		    command.nargs >= 3)
			on_ack(feed, &command);
		beam_feed_link_consume(&feed->link, used);
	}
	return rc;
}

/* Sends the stream as it arrives and reads the target's ACKs, until the feed is stopped or a link
 * ends. */
static int send_stream(struct beam_feed *feed)
{
	struct beam_stream *stream = feed->opts.stream;
	size_t at = 0, len = 0; /* offsets in `out` */

	for (;;) {
		bool may_send = stream && (feed->opts.image.length_bytes || feed->status.loaded);

		if (may_send && at == len) {
			long n = beam_stream_take(stream, feed->out, CHUNK_BYTES);
			int fault = n > 0 ? BEAM_FAULT("feed-stream") : 0;

			n = fault ? fault : n;
			if (n < 0)
				return (int)n;
			at = 0;
			len = (size_t)n;
		}
		struct pollfd pfds[3] = {
		    {.fd = feed->link.sock, .events = (short)(POLLIN | (at < len ? POLLOUT : 0))},
		    {.fd = feed->link.stop, .events = POLLIN},
		    {.fd = may_send && at == len ? beam_stream_fd(stream) : -1, .events = POLLIN}};

		if (poll(pfds, 3, -1) < 0 && errno != EINTR)
			return -errno;
		if (pfds[1].revents)
			return BEAM_E_ABORTED;
		if (pfds[0].revents & ~POLLOUT) {
			int rc = read_acks(feed);

			if (rc)
				return rc;
		}
		if (at == len)
			continue;
		ssize_t n =
		    send(feed->link.sock, feed->out + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return BEAM_E_GONE;
		if (n > 0) {
			at += (size_t)n;
			pthread_mutex_lock(&feed->lock);
			feed->status.streamed_bytes += (uint64_t)n;
			pthread_mutex_unlock(&feed->lock);
		}
	}
}

static int run(struct beam_feed *feed)
{
	int rc = meet(feed);

	if (rc)
		return rc;
	rc = send_image(feed);
	if (rc == BEAM_E_GONE)
		return failed(feed, rc,
			      "it disconnected while it loaded the image; its log says why (too "
			      "little memory, an RDB version it does not know, repl-timeout)");
	if (rc == -ETIMEDOUT)
		return failed(feed, rc, "it has taken nothing for five minutes");
	if (rc)
		return rc;
	pthread_mutex_lock(&feed->lock);
	feed->status.payload_sent = true;
	pthread_mutex_unlock(&feed->lock);
	signal_fd(feed->changed);
	rc = send_stream(feed);
	pthread_mutex_lock(&feed->lock);
	/* If the primary's link has ended, that is the cause to report. */
	if (feed->opts.stream)
		beam_stream_error(feed->opts.stream, feed->error);
	pthread_mutex_unlock(&feed->lock);
	if (rc == BEAM_E_GONE && !feed->status.loaded)
		return failed(feed, rc, "it did not accept the image; its log says why");
	return rc;
}

static void *feed_thread(void *arg)
{
	struct beam_feed *feed = arg;
	int rc = run(feed);

	failed(feed, rc, rc == BEAM_E_GONE ? "it closed the link" : beam_strerror(rc));
	beam_close(&feed->link.sock);
	pthread_mutex_lock(&feed->lock);
	feed->status.code = rc;
	pthread_mutex_unlock(&feed->lock);
	signal_fd(feed->changed);
	return NULL;
}

int beam_feed_open(const struct beam_feed_opts *opts, char *error, struct beam_feed **out)
{
	struct beam_feed *feed = calloc(1, sizeof(*feed));
	int rc;

	if (!feed)
		return beam_tell(error, -ENOMEM, "out of memory");
	feed->opts = *opts;
	feed->link.sock = feed->listen.fd = -1;
	feed->link.must_auth = opts->must_auth;
	pthread_mutex_init(&feed->lock, NULL);
	feed->link.stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	feed->changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = feed->link.stop < 0 || feed->changed < 0 ? -errno : 0;
	feed->out = malloc(CHUNK_BYTES);
	rc = rc || feed->out ? rc : -ENOMEM;
	if (!rc)
		rc = beam_feed_listen_open(opts->target_sock, &feed->listen);
	if (!rc)
		rc = -pthread_create(&feed->thread, NULL, feed_thread, feed);
	if (rc) {
		beam_feed_close(&feed);
		return beam_tell(error, rc, "cannot listen for the target: %s", beam_strerror(rc));
	}
	(void)BEAM_FAULT("feed-open");
	feed->started = true;
	*out = feed;
	return 0;
}

const char *beam_feed_host(const struct beam_feed *feed)
{
	return feed->listen.host;
}

uint32_t beam_feed_port(const struct beam_feed *feed)
{
	return feed->listen.port;
}

int beam_feed_fd(const struct beam_feed *feed)
{
	return feed->changed;
}

void beam_feed_status(struct beam_feed *feed, struct beam_feed_status *out)
{
	uint64_t count;

	pthread_mutex_lock(&feed->lock);
	*out = feed->status;
	if (read(feed->changed, &count, sizeof(count)) < 0)
		errno = 0;
	pthread_mutex_unlock(&feed->lock);
}

int beam_feed_error(struct beam_feed *feed, char *error)
{
	pthread_mutex_lock(&feed->lock);
	int code = feed->status.code;

	if (feed->released && code == BEAM_E_GONE)
		code = 0;
	if (code)
		beam_tell(error, code, "%s", feed->error);
	pthread_mutex_unlock(&feed->lock);
	return code;
}

void beam_feed_release(struct beam_feed *feed)
{
	pthread_mutex_lock(&feed->lock);
	feed->released = true;
	pthread_mutex_unlock(&feed->lock);
}

void beam_feed_close(struct beam_feed **feed)
{
	struct beam_feed *f = *feed;

	if (!f)
		return;
	if (f->started) {
		signal_fd(f->link.stop);
		pthread_join(f->thread, NULL);
	}
	beam_feed_listen_close(&f->listen);
	beam_close(&f->link.sock);
	beam_close(&f->link.stop);
	beam_close(&f->changed);
	free(f->out);
	pthread_mutex_destroy(&f->lock);
	free(f);
	*feed = NULL;
}
