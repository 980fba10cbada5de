/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Turns each chunk of the image into a part of the stream. A part is either the chunk's body
 * unchanged, or, when the module decodes the chunk, the items that the module does not take
 * followed by an AUX record. A few parts are prepared ahead, so that the module's threads have work
 * while the server reads a long part. A segment is released once it has been sent or decoded.
 */
#include "module_feed.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "log.h"
#include "module_part.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "tell.h"

#define PARTS_MAX    4
#define SEGMENTS_MAX 1024  /* in a window */
#define AGREE_MS     30000 /* for the target to read the first record */
/* Interval between two records that let a waiting server serve its clients. */
#define WAIT_MS 100

enum agreement { NOT_ASKED, ASKED, AGREED, REFUSED };

struct beam_module_feed {
	struct beam_window *window;
	struct beam_window_shape shape;
	uint64_t segment_bytes;
	struct beam_image_source segments; /* the window's, used to release them */
	uint8_t nonce[BEAM_LOAD_SECRET_BYTES];
	bool must;
	int sock;
	pthread_t listener;
	bool started;

	/* Used by the feed's thread only: */
	struct beam_module_part parts[PARTS_MAX]; /* a ring */
	uint32_t head, nparts;
	enum agreement known; /* the value of `agreement` it last saw */
	uint32_t next;        /* next segment to look at */
	/* Inside a chunk that is longer than the window and begins at long_first. */
	bool in_long;
	uint32_t long_first;
	bool ended;
	uint64_t asked_ms;
	uint32_t njobs;
	uint64_t nshared; /* keys */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum agreement agreement;
	int code;
	bool done[SEGMENTS_MAX];
	uint32_t released;
};

/* ---- the module's news ---------------------------------------------------------------------- */

static void set_done(struct beam_module_feed *m, uint32_t first, uint64_t n)
{
	pthread_mutex_lock(&m->lock);
	for (uint64_t i = 0; i < n && i < SEGMENTS_MAX; i++)
		m->done[(first + i) % SEGMENTS_MAX] = true;
	while (m->done[m->released % SEGMENTS_MAX]) {
		m->done[m->released % SEGMENTS_MAX] = false;
		m->released++;
		m->segments.release(m->segments.ctx);
	}
	pthread_mutex_unlock(&m->lock);
}

static void agree(struct beam_module_feed *m, enum agreement how)
{
	pthread_mutex_lock(&m->lock);
	m->agreement = how;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static int take_news(struct beam_module_feed *m, struct beam_load_news *news)
{
	switch (news->word) {
	case BEAM_LOAD_READY:
		agree(m, AGREED);
		return 0;
	case BEAM_LOAD_REFUSED:
		news->text[sizeof(news->text) - 1] = 0;
		beam_log(m->must ? BEAM_LOG_WARNING : BEAM_LOG_NOTICE,
			 "the target does not load by module: %s", news->text);
		agree(m, REFUSED);
		return 0;
	case BEAM_LOAD_DECODED:
		set_done(m, news->first, news->len_bytes / m->segment_bytes);
		return 0;
	default:
		return BEAM_E_PROTO;
	}
}

static void *listen_to_module(void *arg)
{
	struct beam_module_feed *m = arg;
	struct beam_load_news news;
	int rc = 0;

	while (!rc) {
		ssize_t n = beam_packet_recv(m->sock, &news, sizeof(news), NULL, NULL, -1);

		rc = n < 0 ? (int)n : n != sizeof(news) ? BEAM_E_PROTO : take_news(m, &news);
	}
	/* The module closes the socket after a load; before that, the feed's own link breaks as
	 * well. */
	pthread_mutex_lock(&m->lock);
	m->code = rc;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

/* Returns 0 once the module has agreed or refused, -ETIMEDOUT when it has not yet, or the code that
 * ends the feed. */
static int wait_agreement(struct beam_module_feed *m, int timeout_ms)
{
	struct timespec until;
	int rc = 0;

	beam_deadline_in(&until, timeout_ms);
	pthread_mutex_lock(&m->lock);
	while (m->agreement == ASKED && !m->code && !rc)
		rc = -pthread_cond_timedwait(&m->changed, &m->lock, &until);
	m->known = m->agreement;
	if (m->agreement == REFUSED)
		rc = m->must ? BEAM_E_UNSUPPORTED : 0;
	else if (m->agreement == AGREED)
		rc = 0;
	else if (m->code)
		rc = m->code;
	pthread_mutex_unlock(&m->lock);
	if (rc == -ETIMEDOUT && beam_now_ms() - m->asked_ms > AGREE_MS) {
		beam_log(BEAM_LOG_WARNING,
			 "the target does not load from its socket (has repl-diskless-load been "
			 "changed, or are there keys in it now?)");
		return BEAM_E_UNSUPPORTED;
	}
	return rc;
}

/* ---- parts ---------------------------------------------------------------------------------- */

static struct beam_module_part *new_part(struct beam_module_feed *m, uint32_t nsegments)
{
	struct beam_module_part *part = &m->parts[(m->head + m->nparts++) % PARTS_MAX];

	part->first = m->next;
	part->nsegments = nsegments;
	part->sent = 0;
	part->body_bytes = nsegments * m->segment_bytes;
	part->own_bytes = 0;
	m->next += nsegments;
	return part;
}

static bool is_last(const struct beam_module_feed *m, const uint8_t *base, uint32_t len)
{
	return len < m->segment_bytes || beam_is_last(&m->shape.gen, base, len);
}

static bool ends_chunk(const struct beam_module_feed *m, const uint8_t *base, uint32_t len,
		       uint32_t first, uint32_t index, struct beam_chunk_footer *footer)
{
	return beam_chunk_footer_of(&m->shape.gen, base + len, footer) == 0 &&
	       footer->first_index == first && footer->nsegments == index - first + 1;
}

/* The stream differs from the file, so the file's CRC does not fit: zero means no checksum. Each
 * segment's was checked. */
static int prepare_end(struct beam_module_feed *m)
{
	static const uint8_t eof[BEAM_LAST_TAIL_BYTES] = {BEAM_RDB_OP_EOF};
	struct beam_module_part *part = new_part(m, 1);

	m->ended = true;
	if (m->known == AGREED &&
	    beam_module_part_aux(part, BEAM_LOAD_END, 0, m->nshared, m->nonce))
		return -ENOMEM;
	return beam_module_part_add(part, eof, sizeof(eof));
}

/* Adds a part with bytes of the window. After the very first one (the header's) comes a record that
 * asks the module whether the load is shared. */
static int prepare_stream(struct beam_module_feed *m, uint32_t nsegments, uint64_t body_bytes)
{
	struct beam_module_part *part = new_part(m, nsegments);

	part->body_bytes = body_bytes;
	if (m->known != NOT_ASKED || m->in_long)
		return 0;
	agree(m, ASKED);
	m->known = ASKED;
	m->asked_ms = beam_now_ms();
	return beam_module_part_aux(new_part(m, 0), BEAM_LOAD_BEGIN, 0, 0, m->nonce);
}

/* Behind a chunk that the server loads itself, a record has the module look how much memory that
 * took. */
static int prepare_look(struct beam_module_feed *m)
{
	if (m->known != AGREED)
		return 0;
	return beam_module_part_aux(new_part(m, 0), BEAM_LOAD_WAIT, 0, 0, m->nonce);
}

static int prepare_shared(struct beam_module_feed *m, const struct beam_chunk *chunk)
{
	uint32_t n = chunk->footer.nsegments;
	struct beam_module_part *part = new_part(m, n);
	uint64_t taken;
	struct beam_load_job job = {.offset = (uint64_t)(chunk->base - m->shape.base),
				    .len_bytes = n * m->segment_bytes,
				    .number = m->njobs,
				    .first = part->first};
	int rc = beam_module_part_split(part, chunk, &taken);

	if (rc || !taken) {
		part->own_bytes = 0;
		part->body_bytes = chunk->footer.body_bytes;
		return rc ? rc : prepare_look(m);
	}
	part->body_bytes = 0;
	m->njobs++;
	m->nshared += taken;
	rc = beam_module_part_aux(part, BEAM_LOAD_CHUNK, job.number, taken, m->nonce);
	return rc ? rc : beam_packet_send(m->sock, &job, sizeof(job), NULL, 0);
}

static int prepare_chunk(struct beam_module_feed *m, const uint8_t *base,
			 const struct beam_chunk_footer *footer)
{
	struct beam_chunk chunk;

	int rc;

	if (m->next == 0 || m->known != AGREED || !beam_load_worth(footer)) {
		rc = prepare_stream(m, footer->nsegments, footer->body_bytes);
		return rc ? rc : prepare_look(m);
	}
	/* Contiguous even across the window's end, because the window is mapped twice. */
	rc = beam_chunk_open(base, footer->nsegments * m->segment_bytes, false, &chunk);

	return rc ? rc : prepare_shared(m, &chunk);
}

/* Sends segments of a chunk that is longer than the window, filler and footer included. */
static int prepare_long(struct beam_module_feed *m, const uint8_t *base, uint32_t len)
{
	struct beam_chunk_footer footer;

	if (!m->in_long)
		m->long_first = m->next;
	m->in_long = !ends_chunk(m, base, len, m->long_first, m->next, &footer);
	return prepare_stream(m, 1, m->segment_bytes);
}

/* Prepares one part (two for the header). Returns 0, -ETIMEDOUT, or the code of the pull's
 * failure. */
static int prepare(struct beam_module_feed *m, int timeout_ms)
{
	struct beam_chunk_footer footer;
	const uint8_t *base = NULL, *last;
	uint32_t len = 0, first = m->next;
	int rc = m->known == ASKED ? wait_agreement(m, timeout_ms) : 0;

	if (!rc)
		rc = beam_window_look(m->window, first, &base, &len, timeout_ms);
	if (rc <= 0)
		return rc ? rc : BEAM_E_TORN;
	if (is_last(m, base, len))
		return prepare_end(m);
	if (m->in_long)
		return prepare_long(m, base, len);
	last = base;
	for (uint32_t index = first; !ends_chunk(m, last, len, first, index, &footer);) {
		if (++index - first == m->shape.nslots)
			return prepare_long(m, base, (uint32_t)m->segment_bytes);
		rc = beam_window_look(m->window, index, &last, &len, timeout_ms);
		if (rc <= 0)
			return rc ? rc : BEAM_E_TORN;
		if (len != m->segment_bytes)
			return BEAM_E_FORMAT;
	}
	return prepare_chunk(m, base, &footer);
}

/* ---- the feed's source ---------------------------------------------------------------------- */

/* Gets the next bytes of the part at the head. Returns false when there are no more. */
static bool piece_of(struct beam_module_feed *m, struct beam_module_part *part,
		     const uint8_t **base, uint32_t *len)
{
	uint64_t before = part->sent * m->segment_bytes;

	if (part->own_bytes) {
		*base = part->own;
		*len = (uint32_t)part->own_bytes;
		return part->sent == 0;
	}
	if (before >= part->body_bytes || part->sent == part->nsegments ||
	    beam_window_look(m->window, part->first + part->sent, base, len, 0) != 1)
		return false;
	if (*len > part->body_bytes - before)
		*len = (uint32_t)(part->body_bytes - before);
	return true;
}

static void pop(struct beam_module_feed *m, struct beam_module_part *part)
{
	/* Release its segments: those that were sent from the window, and those behind them that
	 * hold nothing but filler. The module releases those that it decodes. */
	if (!part->own_bytes)
		set_done(m, part->first, part->nsegments);
	m->head = (m->head + 1) % PARTS_MAX;
	m->nparts--;
}

/* A record may stand only between two chunks. It is also sent to a target that loads by itself: any
 * bytes reset its repl-timeout. */
static bool may_tell_to_wait(const struct beam_module_feed *m)
{
	return (m->known == AGREED || m->known == REFUSED) && !m->in_long && !m->ended;
}

static int prepare_wait(struct beam_module_feed *m)
{
	return beam_module_part_aux(new_part(m, 0), BEAM_LOAD_WAIT, 0, 0, m->nonce);
}

static int source_next(void *ctx, const uint8_t **base, uint32_t *len, int timeout_ms)
{
	struct beam_module_feed *m = ctx;
	int rc = 0;

	for (;;) {
		if (may_tell_to_wait(m) && timeout_ms > WAIT_MS)
			timeout_ms = WAIT_MS;
		/* Keep one slot free: the header's part is followed by the record that asks. */
		while (!rc && !m->ended && m->nparts < PARTS_MAX - 1)
			rc = prepare(m, m->nparts ? 0 : timeout_ms);
		if (rc == -ETIMEDOUT && !m->nparts && may_tell_to_wait(m))
			rc = prepare_wait(m);
		if (rc && (rc != -ETIMEDOUT || !m->nparts))
			return rc;
		if (!m->nparts)
			return 0;
		struct beam_module_part *part = &m->parts[m->head];

		if (piece_of(m, part, base, len))
			return 1;
		pop(m, part);
		rc = 0;
	}
}

static void source_release(void *ctx)
{
	struct beam_module_feed *m = ctx;

	m->parts[m->head].sent++;
}

/* The module can be kept waiting by records, except inside a long chunk. */
static bool source_at_once(void *ctx)
{
	const struct beam_module_feed *m = ctx;

	return !m->in_long;
}

void beam_module_feed_source(struct beam_module_feed *m, struct beam_image_source *out)
{
	*out = (struct beam_image_source){
	    .ctx = m, .next = source_next, .release = source_release, .at_once = source_at_once};
}

/* ---- open, close ---------------------------------------------------------------------------- */

static int say_hello(struct beam_module_feed *m, const struct beam_module_offer *offer)
{
	struct beam_load_hello hello;

	memcpy(hello.secret, offer->secret, sizeof(hello.secret));
	hello.memory_bytes = m->shape.nslots * m->segment_bytes;
	m->sock = beam_packet_connect(offer->name, offer->name_len);
	return m->sock < 0 ? m->sock
			   : beam_packet_send(m->sock, &hello, sizeof(hello), &m->shape.fd, 1);
}

int beam_module_feed_open(const struct beam_module_offer *offer, struct beam_window *window,
			  bool must, char *why, struct beam_module_feed **out)
{
	struct beam_module_feed *m = calloc(1, sizeof(*m));

	if (!m)
		return beam_tell(why, -ENOMEM, "out of memory: loading by module");
	m->window = window;
	m->must = must;
	memcpy(m->nonce, offer->nonce, sizeof(m->nonce));
	beam_window_source(window, true, &m->segments);
	beam_window_shape(window, &m->shape);
	m->segment_bytes = m->shape.segment_bytes;
	m->sock = -1;
	pthread_mutex_init(&m->lock, NULL);
	beam_cond_init(&m->changed);
	int rc = say_hello(m, offer);

	if (!rc)
		rc = -pthread_create(&m->listener, NULL, listen_to_module, m);
	m->started = !rc;
	if (rc) {
		beam_module_feed_close(&m);
		return beam_tell(why, rc,
				 "cannot hand memory to the target's module: %s (does it run on "
				 "another host or in another network namespace?)",
				 beam_strerror(rc));
	}
	*out = m;
	return 0;
}

bool beam_module_feed_agreed(struct beam_module_feed *m)
{
	pthread_mutex_lock(&m->lock);
	bool agreed = m->agreement == AGREED;

	pthread_mutex_unlock(&m->lock);
	return agreed;
}

uint64_t beam_module_feed_bytes(struct beam_module_feed *m)
{
	pthread_mutex_lock(&m->lock);
	uint64_t bytes = m->released * m->segment_bytes;

	pthread_mutex_unlock(&m->lock);
	return bytes;
}

void beam_module_feed_abort(struct beam_module_feed *m)
{
	shutdown(m->sock, SHUT_RDWR);
}

void beam_module_feed_close(struct beam_module_feed **feed)
{
	struct beam_module_feed *m = *feed;

	if (!m)
		return;
	if (m->started) {
		beam_module_feed_abort(m);
		pthread_join(m->listener, NULL);
	}
	beam_close(&m->sock);
	for (uint32_t i = 0; i < PARTS_MAX; i++)
		free(m->parts[i].own);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	explicit_bzero(m->nonce, sizeof(m->nonce));
	free(m);
	*feed = NULL;
}
