/* SPDX-License-Identifier: BSD-3-Clause
 *
 *	target                          feed
 *	PING, AUTH, REPLCONF ...  --->
 *	        <--- +PONG, +OK
 *	PSYNC id offset           --->
 *	        <--- +FULLRESYNC id offset, then newlines while nothing is there to send
 *	        <--- $<length> image            or $EOF:<mark> image <mark>
 *	REPLCONF ACK offset       --->          the image is loaded
 *	        <--- stream                     after $EOF: not before the first ACK, or the target
 *						waits for ever (Redis 7.0.15, readSyncBulkPayload)
 * The target blocks in its read while it loads, so nobody may wait for an answer of the target in
 * the thread that fetches the image. */
#include "feed.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "fault.h"
#include "feed_listen.h"
#include "rdbeam/error.h"
#include "resp.h"
#include "sockets.h"
#include "tell.h"

#define MARK_BYTES       40
#define CHUNK_BYTES      (256u << 10)
#define NEWLINE_EVERY_MS 1000
/* A target that takes nothing for so long while it loads one key or frees its old data is stuck. */
#define STALL_MS 300000

struct beam_feed {
	struct beam_feed_opts opts;
	struct beam_feed_listen listen;
	int stop;    /* eventfd: to the thread */
	int changed; /* eventfd: to the owner */
	pthread_t thread;
	bool started;

	int sock; /* the thread's: the target */
	uint8_t in[BEAM_RESP_COMMAND_MAX];
	size_t in_bytes;
	uint8_t *out; /* CHUNK_BYTES of stream */
	char mark[MARK_BYTES + 1];

	pthread_mutex_t lock;
	bool released;
	struct beam_feed_status status;
	char error[BEAM_REDIS_ERROR_BYTES];
};

static void signal_fd(int fd)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then it is readable already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/* Ends the feed with the first code and line. */
static int failed(struct beam_feed *feed, int code, const char *what)
{
	pthread_mutex_lock(&feed->lock);
	beam_tell(feed->error, code, "feeding the target: %s", what);
	pthread_mutex_unlock(&feed->lock);
	return code;
}

static bool stopped(struct beam_feed *feed)
{
	struct pollfd pfd = {.fd = feed->stop, .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

/* Waits for `events` on the target's socket. 1, 0 after timeout_ms, BEAM_E_ABORTED, or -errno. */
static int wait_sock(struct beam_feed *feed, int fd, short events, int timeout_ms)
{
	struct pollfd pfds[2] = {{.fd = fd, .events = events},
				 {.fd = feed->stop, .events = POLLIN}};
	int n;

	do {
		n = poll(pfds, 2, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (pfds[1].revents)
		return BEAM_E_ABORTED;
	return pfds[0].revents ? 1 : 0;
}

static int send_all(struct beam_feed *feed, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len) {
		ssize_t n = send(feed->sock, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return BEAM_E_GONE;
		int rc = wait_sock(feed, feed->sock, POLLOUT, STALL_MS);

		if (rc == 0)
			return -ETIMEDOUT;
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int send_text(struct beam_feed *feed, const char *text)
{
	return send_all(feed, text, strlen(text));
}

/* Reads what has come. 0, or BEAM_E_GONE. */
static int receive(struct beam_feed *feed)
{
	ssize_t n = recv(feed->sock, feed->in + feed->in_bytes, sizeof(feed->in) - feed->in_bytes,
			 MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return BEAM_E_GONE;
	feed->in_bytes += (size_t)n;
	return 0;
}

/* Takes one command off the input. 1, 0 when there is none yet, BEAM_E_PROTO. The arguments are
 * valid until the next consume. */
static int next_command(struct beam_feed *feed, struct beam_resp_command *command)
{
	while (feed->in_bytes && (feed->in[0] == '\n' || feed->in[0] == '\r'))
		memmove(feed->in, feed->in + 1, --feed->in_bytes);
	int used = beam_resp_parse(feed->in, feed->in_bytes, command);

	if (used == 0 && feed->in_bytes == sizeof(feed->in))
		return BEAM_E_PROTO;
	return used;
}

static void consume(struct beam_feed *feed, int used)
{
	feed->in_bytes -= (size_t)used;
	memmove(feed->in, feed->in + used, feed->in_bytes);
}

static int answer_psync(struct beam_feed *feed)
{
	char line[128];

	(void)BEAM_FAULT("feed-psync");
	snprintf(line, sizeof(line), "+FULLRESYNC %s %lld\r\n", feed->opts.replid,
		 (long long)feed->opts.offset);
	return send_text(feed, line);
}

/* Answers one command of the handshake. 1 after PSYNC, 0, or an error. */
static int answer(struct beam_feed *feed, const struct beam_resp_command *command)
{
	if (beam_resp_is(command, 0, "PING"))
		return send_text(feed, "+PONG\r\n");
	if (beam_resp_is(command, 0, "AUTH"))
		return send_text(feed, "+OK\r\n");
	if (beam_resp_is(command, 0, "REPLCONF"))
		return beam_resp_is(command, 1, "ACK") ? 0 : send_text(feed, "+OK\r\n");
	if (beam_resp_is(command, 0, "PSYNC")) {
		int rc = answer_psync(feed);

		return rc ? rc : 1;
	}
	return send_text(feed, "-ERR unknown command, this is rdbeam pull\r\n");
}

/* 0 once the target waits for the payload. */
static int handshake(struct beam_feed *feed, uint64_t deadline_ms)
{
	struct beam_resp_command command;

	feed->in_bytes = 0;
	for (;;) {
		int used = next_command(feed, &command);

		if (used < 0)
			return used;
		if (used > 0) {
			int rc = answer(feed, &command);

			consume(feed, used);
			if (rc)
				return rc == 1 ? 0 : rc;
			continue;
		}
		uint64_t now = beam_now_ms();
		int rc = now < deadline_ms
			     ? wait_sock(feed, feed->sock, POLLIN, (int)(deadline_ms - now))
			     : 0;

		if (rc <= 0)
			return rc ? rc : -ETIMEDOUT;
		rc = receive(feed);
		if (rc)
			return rc;
	}
}

/* Waits for the target and leads it through the handshake; it may come more than once. */
static int meet(struct beam_feed *feed)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)feed->opts.timeout_ms;

	for (;;) {
		uint64_t now = beam_now_ms();
		int rc = now < deadline
			     ? wait_sock(feed, feed->listen.fd, POLLIN, (int)(deadline - now))
			     : 0;

		if (rc == 0)
			return failed(feed, -ETIMEDOUT,
				      "the target did not come to the address given to it by "
				      "REPLICAOF (firewall? run rdbeam on the target's host)");
		if (rc < 0)
			return rc;
		feed->sock = beam_feed_accept(&feed->listen);
		if (feed->sock < 0)
			continue;
		rc = handshake(feed, deadline);
		if (!rc || rc == BEAM_E_ABORTED)
			return rc;
		beam_close(&feed->sock);
	}
}

static int send_begin(struct beam_feed *feed)
{
	char line[MARK_BYTES + 16];
	uint8_t random[MARK_BYTES / 2];

	if (feed->opts.image.length_bytes) {
		snprintf(line, sizeof(line), "$%llu\r\n",
			 (unsigned long long)feed->opts.image.length_bytes);
		return send_text(feed, line);
	}
	beam_random(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(feed->mark + 2 * i, 3, "%02x", random[i]);
	snprintf(line, sizeof(line), "$EOF:%s\r\n", feed->mark);
	return send_text(feed, line);
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

/* Sends the image. Newlines keep the target's repl-timeout from firing, but only before the first
 * byte of the payload. */
static int send_image(struct beam_feed *feed)
{
	struct beam_image_source *image = &feed->opts.image;
	bool begun = false;

	for (;;) {
		const uint8_t *base;
		uint32_t len;
		int rc = image->next(image->ctx, &base, &len, NEWLINE_EVERY_MS);

		if (stopped(feed))
			return BEAM_E_ABORTED;
		if (rc == -ETIMEDOUT) {
			rc = begun ? 0 : send_text(feed, "\n");
			if (rc)
				return rc;
			continue;
		}
		if (rc <= 0)
			return rc ? rc : send_text(feed, feed->mark);
		if (!begun) {
			note_begun(feed);
			rc = send_begin(feed);
			if (rc < 0)
				return rc;
			begun = true;
		}
		(void)BEAM_FAULT("feed-segment");
		rc = send_all(feed, base, len);
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
	int rc = receive(feed);

	while (!rc) {
		int used = next_command(feed, &command);

		if (used <= 0)
			return used;
		if (beam_resp_is(&command, 0, "REPLCONF") && beam_resp_is(&command, 1, "ACK") &&
		    command.nargs >= 3)
			on_ack(feed, &command);
		consume(feed, used);
	}
	return rc;
}

/* Sends the stream as it comes and reads the target's ACKs, until someone ends. */
static int send_stream(struct beam_feed *feed)
{
	struct beam_stream *stream = feed->opts.stream;
	size_t at = 0, len = 0; /* of `out` */

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
		    {.fd = feed->sock, .events = (short)(POLLIN | (at < len ? POLLOUT : 0))},
		    {.fd = feed->stop, .events = POLLIN},
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
		ssize_t n = send(feed->sock, feed->out + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);

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
			      "it left while it loaded the image; its log says why (too little "
			      "memory, an RDB version it does not know, repl-timeout)");
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
	/* When the primary's link has ended, that is the cause. */
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
	beam_close(&feed->sock);
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
	feed->sock = feed->listen.fd = -1;
	pthread_mutex_init(&feed->lock, NULL);
	feed->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	feed->changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	feed->out = malloc(CHUNK_BYTES);
	rc = feed->stop < 0 || feed->changed < 0 || !feed->out ? -ENOMEM : 0;
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
		signal_fd(f->stop);
		pthread_join(f->thread, NULL);
	}
	beam_feed_listen_close(&f->listen);
	beam_close(&f->sock);
	beam_close(&f->stop);
	beam_close(&f->changed);
	free(f->out);
	pthread_mutex_destroy(&f->lock);
	free(f);
	*feed = NULL;
}
