/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread reads the socket into a spool; another thread takes from the spool. An eventfd signals
 * "something to take"; it is cleared when the spool was found empty.
 */
#include "stream.h"

#include <errno.h>
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
#include "link_line.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "spool.h"
#include "tell.h"

#define READ_BYTES (256u << 10)
/* Well below the smallest sensible repl-timeout, after which the primary drops a silent replica. */
#define ACK_INTERVAL_MS 3000
#define LINE_MAX_BYTES  256

struct beam_stream {
	struct beam_redis *redis;
	int sock;
	int ready; /* eventfd that wakes the consumer */
	int stop;  /* eventfd that stops the thread */
	pthread_t thread;
	bool started;
	uint8_t *buf; /* used by the thread only */

	pthread_mutex_t lock;
	struct beam_spool *spool;
	uint64_t received;
	int code; /* why the link ended; 0 while it lives */
	char error[BEAM_REDIS_ERROR_BYTES];
};

static void signal_fd(int fd)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the fd is readable already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static int request(struct beam_stream *stream, const struct beam_stream_opts *opts, char *error)
{
	char offset[24], text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
	int offset_len = snprintf(offset, sizeof(offset), "%lld", (long long)opts->offset + 1);
	int len = snprintf(text, sizeof(text), "*3\r\n$5\r\nPSYNC\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n",
			   strlen(opts->replid), opts->replid, offset_len, offset);
	int rc = beam_link_send(stream->sock, text, (size_t)len, opts->timeout_ms);

	if (!rc)
		rc = beam_link_read_line(stream->sock, line, sizeof(line), opts->timeout_ms);
	if (rc)
		return beam_tell(error, rc, "%s: no answer to PSYNC: %s",
				 beam_redis_name(stream->redis), beam_strerror(rc));
	if (strncmp(line, "-NOPERM", 7) == 0)
		return beam_tell(error, BEAM_E_DENIED,
				 "%s: %s (grant it: ACL SETUSER <user> +psync +replconf)",
				 beam_redis_name(stream->redis), line + 1);
	if (beam_is_unknown_command(line + 1))
		return beam_tell(error, BEAM_E_SERVER, "%s: PSYNC: %s%s",
				 beam_redis_name(stream->redis), line + 1,
				 beam_psync_remedy(line + 1, text, sizeof(text)));
	if (line[0] == '-')
		return beam_tell(error, BEAM_E_SERVER, "%s: PSYNC: %s",
				 beam_redis_name(stream->redis), line + 1);
	if (strcmp(line, "+CONTINUE") == 0)
		return 0;
	/* A different id means that the history of the image has ended (failover). */
	if (strncmp(line, "+CONTINUE ", 10) == 0 && strcmp(line + 10, opts->replid) == 0)
		return 0;
	return BEAM_E_STALE;
}

static void end(struct beam_stream *stream, int code, const char *why)
{
	pthread_mutex_lock(&stream->lock);
	stream->code = code;
	beam_tell(stream->error, code, "replication link to %s: %s", beam_redis_name(stream->redis),
		  why);
	pthread_mutex_unlock(&stream->lock);
	signal_fd(stream->ready);
}

static void end_unspilled(struct beam_stream *stream, int code)
{
	char why[BEAM_REDIS_ERROR_BYTES];
	bool full = code == -ENOSPC || code == -EDQUOT;

	snprintf(why, sizeof(why), "cannot keep its stream in %s: %s%s",
		 beam_spool_dir(stream->spool), beam_strerror(code),
		 full ? ": make room there, raise --buffer, or give another --spill-dir" : "");
	end(stream, code, why);
}

/* Reads what has arrived. Returns 0, or a code after which the thread ends. */
static int receive(struct beam_stream *stream)
{
	ssize_t n = recv(stream->sock, stream->buf, READ_BYTES, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		bool silent = beam_redis_host_is_gone(stream->redis, n < 0 ? errno : 0);

		end(stream, BEAM_E_GONE,
		    silent ? "its host does not answer any more: look at the host and the network"
			   : "closed by the primary (its log says why; client-output-buffer-limit "
			     "replica?)");
		return BEAM_E_GONE;
	}
	pthread_mutex_lock(&stream->lock);
	int rc = BEAM_FAULT("pull-spool");

	rc = rc ? rc : beam_spool_put(stream->spool, stream->buf, (size_t)n);

	if (!rc)
		stream->received += (uint64_t)n;
	pthread_mutex_unlock(&stream->lock);
	if (rc == BEAM_E_FULL)
		end(stream, rc,
		    "more writes came while the replica loads than --buffer and --spill can hold: "
		    "raise them");
	else if (rc)
		end_unspilled(stream, rc);
	signal_fd(stream->ready);
	return rc;
}

static void *stream_thread(void *arg)
{
	static const char ack[] = "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n";
	struct beam_stream *stream = arg;
	uint64_t next_ack = 0;

	for (;;) {
		struct pollfd pfds[2] = {{.fd = stream->sock, .events = POLLIN},
					 {.fd = stream->stop, .events = POLLIN}};
		uint64_t now = beam_now_ms();

		if (now >= next_ack) {
			int rc =
			    beam_link_send(stream->sock, ack, sizeof(ack) - 1, ACK_INTERVAL_MS);

			if (rc) {
				end(stream, rc, beam_strerror(rc));
				return NULL;
			}
			next_ack = now + ACK_INTERVAL_MS;
		}
		if (poll(pfds, 2, (int)(next_ack - now)) < 0 && errno != EINTR) {
			end(stream, -errno, strerror(errno));
			return NULL;
		}
		if (pfds[1].revents)
			return NULL;
		if (pfds[0].revents && receive(stream))
			return NULL;
	}
}

static int start(struct beam_stream *stream, const struct beam_stream_opts *opts, char *error)
{
	int rc =
	    beam_spool_open(opts->memory_bytes, opts->spill_bytes, opts->spill_dir, &stream->spool);

	stream->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	stream->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!rc && (stream->ready < 0 || stream->stop < 0))
		rc = -errno;
	stream->buf = malloc(READ_BYTES);
	if (!rc && !stream->buf)
		rc = -ENOMEM;
	if (!rc)
		rc = -pthread_create(&stream->thread, NULL, stream_thread, stream);
	if (rc)
		return beam_tell(error, rc, "cannot start reading the stream: %s",
				 beam_strerror(rc));
	stream->started = true;
	return 0;
}

int beam_stream_open(const struct beam_stream_opts *opts, char *error, struct beam_stream **out)
{
	struct beam_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return beam_tell(error, -ENOMEM, "out of memory");
	stream->ready = stream->stop = -1;
	pthread_mutex_init(&stream->lock, NULL);
	char text[BEAM_REDIS_ERROR_BYTES];
	int rc = beam_redis_open(opts->from, opts->timeout_ms, text, &stream->redis);

	if (rc) {
		beam_tell(error, rc, "%s", text);
		goto failed;
	}
	/* The host is not watched: if the primary's host is away for a while, or for good, the
	 * image being loaded is none the worse for it. */
	stream->sock = beam_redis_context(stream->redis)->fd;
	rc = beam_announce_send(stream->redis, &opts->name);
	rc = rc ? rc : beam_redis_command(stream->redis, NULL, "REPLCONF capa eof capa psync2");
	if (rc) {
		beam_tell(error, rc, "%s%s", beam_redis_error(stream->redis),
			  beam_remedy(beam_redis_error(stream->redis), "+psync +replconf", text,
				      sizeof(text)));
		goto failed;
	}
	rc = BEAM_FAULT("pull-stream");
	rc = rc ? rc : request(stream, opts, error);
	if (!rc)
		rc = start(stream, opts, error);
	if (rc)
		goto failed;
	*out = stream;
	return 0;
failed:
	beam_stream_close(&stream);
	return rc;
}

void beam_stream_close(struct beam_stream **stream)
{
	struct beam_stream *s = *stream;

	if (!s)
		return;
	if (s->started) {
		signal_fd(s->stop);
		pthread_join(s->thread, NULL);
	}
	beam_redis_close(&s->redis);
	beam_spool_close(&s->spool);
	beam_close(&s->ready);
	beam_close(&s->stop);
	free(s->buf);
	pthread_mutex_destroy(&s->lock);
	free(s);
	*stream = NULL;
}

int beam_stream_fd(const struct beam_stream *stream)
{
	return stream->ready;
}

long beam_stream_take(struct beam_stream *stream, void *out, size_t cap)
{
	uint64_t count;

	pthread_mutex_lock(&stream->lock);
	long n = beam_spool_get(stream->spool, out, cap);

	if (n == 0) {
		n = stream->code;
		/* Clear it under the lock: a later put signals again. */
		if (!n && read(stream->ready, &count, sizeof(count)) < 0)
			n = errno == EAGAIN ? 0 : -errno;
	}
	pthread_mutex_unlock(&stream->lock);
	return n;
}

uint64_t beam_stream_received(struct beam_stream *stream)
{
	pthread_mutex_lock(&stream->lock);
	uint64_t n = stream->received;

	pthread_mutex_unlock(&stream->lock);
	return n;
}

uint64_t beam_stream_spilled(struct beam_stream *stream)
{
	pthread_mutex_lock(&stream->lock);
	uint64_t n = beam_spool_spilled(stream->spool);

	pthread_mutex_unlock(&stream->lock);
	return n;
}

int beam_stream_error(struct beam_stream *stream, char *error)
{
	pthread_mutex_lock(&stream->lock);
	int code = stream->code;

	if (code)
		beam_tell(error, code, "%s", stream->error);
	pthread_mutex_unlock(&stream->lock);
	return code;
}
