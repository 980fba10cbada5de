/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The event loop of a fetch. Segments are posted one at a time, in pieces; several may be in
 * flight. The loop posts reads while the transport and the sink have room, handles the transport's
 * events, collects finished checksums, and probes a server that has gone silent.
 */
#include "fetch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "clock.h"
#include "fault.h"
#include "fetch_state.h"
#include "rdbeam/error.h"
#include "tell.h"

#define TICK_MS        50
#define PROBE_AFTER_MS 5000  /* without a byte: ask whether the server is still there */
#define GONE_AFTER_MS  20000 /* then give up the connection */

int beam_fetch_open(const struct beam_segment_sink *sink, struct beam_fetch **out)
{
	struct beam_fetch *fetch = calloc(1, sizeof(*fetch));

	if (!fetch)
		return -ENOMEM;
	fetch->sink = *sink;
	fetch->posting = BEAM_FETCH_NONE;
	int err = beam_checker_open(&fetch->checker);

	if (err) {
		free(fetch);
		return err;
	}
	*out = fetch;
	return 0;
}

void beam_fetch_on_reads(struct beam_fetch *fetch, beam_reads_fn *fn, void *arg)
{
	fetch->on_reads = fn;
	fetch->on_reads_arg = arg;
}

static void mark_reads(const struct beam_fetch *fetch, bool begin)
{
	if (fetch->on_reads)
		fetch->on_reads(fetch->on_reads_arg, begin);
}

void beam_fetch_close(struct beam_fetch **fetch)
{
	if (!*fetch)
		return;
	beam_fetch_detach(*fetch);
	beam_checker_close(&(*fetch)->checker);
	free((*fetch)->segments);
	free((*fetch)->vouched);
	beam_index_heap_free(&(*fetch)->sealed);
	free(*fetch);
	*fetch = NULL;
}

void beam_fetch_counts(const struct beam_fetch *fetch, struct beam_fetch_counts *out)
{
	*out = fetch->counts;
}

static int on_done(struct beam_fetch *fetch, uint64_t cookie)
{
	if (cookie >= fetch->nknown || fetch->segments[cookie].state != READING ||
	    !fetch->segments[cookie].pieces)
		return beam_fetch_bad(fetch, "data nobody asked for, segment", cookie);
	if (--fetch->segments[cookie].pieces || fetch->posting == cookie)
		return 0;
	if (fetch->segments[cookie].look == LOOKING) {
		beam_fetch_looked(fetch, (uint32_t)cookie);
		return 0;
	}
	int rc = beam_fetch_give_check(fetch, (uint32_t)cookie);

	return rc ? beam_tell(fetch->error, rc, "out of memory") : 0;
}

static int on_event(struct beam_fetch *fetch, const struct beam_reader_event *event)
{
	switch (event->type) {
	case BEAM_READER_WAITING:
		fetch->counts.queue_position = event->waiting.position;
		fetch->counts.queue_length = event->waiting.waiting;
		return 0;
	case BEAM_READER_WELCOME:
		fetch->welcomed = true;
		return beam_fetch_on_welcome(fetch, &event->welcome);
	case BEAM_READER_VOUCHED:
		fetch->pending = event->vouched;
		return 0;
	case BEAM_READER_SEALED:
		return beam_fetch_on_sealed(fetch, &event->sealed);
	case BEAM_READER_COMPLETE:
		return beam_fetch_on_complete(fetch, &event->complete);
	case BEAM_READER_DONE:
		return on_done(fetch, event->cookie);
	case BEAM_READER_VALID:
		return 0;
	}
	return beam_fetch_bad(fetch, "an unknown event", event->type);
}

static void begin_posting(struct beam_fetch *fetch, uint32_t index)
{
	fetch->no_room = false;
	fetch->posting = index;
	fetch->posted_bytes = 0;
	fetch->segments[index].state = READING;
}

/* Chooses the segment to post next: one that holds a buffer already, as a lower one may wait for
 * that buffer; or the lowest sealed one. Returns 0 with fetch->posting set, or -EAGAIN. */
static int choose(struct beam_fetch *fetch)
{
	uint32_t index = beam_fetch_find_looked(fetch);
	uint8_t *buf;

	if (index != BEAM_FETCH_NONE) {
		begin_posting(fetch, index);
		return 0;
	}
	if (!beam_index_heap_peek(&fetch->sealed, &index))
		return -EAGAIN;
	/* An earlier, trusted server announced this segment; the present one has yet to send its
	 * signature. */
	if (fetch->trust->vouched && !beam_fetch_is_vouched(fetch, index))
		return -EAGAIN;
	const struct beam_segment_sink *sink = &fetch->sink;
	bool blank = sink->blank && sink->blank(sink->ctx, index);
	int rc = sink->room(sink->ctx, index, &buf);

	fetch->no_room = rc == -EAGAIN;
	if (rc == -EAGAIN)
		return rc;
	if (rc)
		return beam_fetch_tell_sink(fetch, rc, "no room for", index);
	beam_index_heap_pop(&fetch->sealed);
	begin_posting(fetch, index);
	fetch->segments[index].buf = buf;
	fetch->segments[index].blank = blank;
	beam_fetch_look(fetch, index);
	return 0;
}

/* Posts reads until the transport is full, the sink has no room, or no sealed segment is left. */
static int post(struct beam_fetch *fetch)
{
	for (;;) {
		if (fetch->posting == BEAM_FETCH_NONE) {
			int rc = choose(fetch);

			if (rc)
				return rc == -EAGAIN ? 0 : rc;
		}
		struct segment *segment = &fetch->segments[fetch->posting];
		uint32_t len = beam_fetch_piece(fetch);

		if (!fetch->counts.first_read_ms) {
			mark_reads(fetch, true);
			fetch->counts.first_read_ms = beam_now_ms();
		}
		int rc = fetch->reader->ops->read(
		    fetch->reader, fetch->posting, fetch->posted_bytes,
		    segment->buf + fetch->posted_bytes, len, fetch->posting);

		if (rc == -EAGAIN)
			return 0;
		if (rc)
			return rc;
		segment->pieces++;
		fetch->posted_bytes += len;
		if (!beam_fetch_piece(fetch))
			fetch->posting = BEAM_FETCH_NONE;
	}
}

/* Returns 1 with the next event, 0 when there was none within a tick or something else became
 * ready, or an error. */
static int wait_event(struct beam_fetch *fetch, struct beam_reader_event *event)
{
	int fd = fetch->reader->ops->fd(fetch->reader);
	int rc = fetch->reader->ops->next(fetch->reader, event, fd < 0 ? TICK_MS : 0);

	if (rc || fd < 0)
		return rc;
	struct pollfd pfds[3] = {
	    {.fd = fd, .events = POLLIN},
	    {.fd = beam_checker_fd(fetch->checker), .events = POLLIN},
	    {.fd = fetch->no_room ? fetch->sink.wake_fd : -1, .events = POLLIN}};

	if (poll(pfds, 3, TICK_MS) <= 0 || !pfds[0].revents)
		return 0;
	return fetch->reader->ops->next(fetch->reader, event, 0);
}

/* True when the connection ended, by itself or because it was silent: another connection may
 * work. */
static bool is_break(int rc)
{
	return rc == BEAM_E_GONE || rc == -ECONNRESET || rc == -EPIPE || rc == -ETIMEDOUT;
}

/* Handles a transport error. BEAM_E_GONE is not final, so no line is written for it. */
static int transport_failed(struct beam_fetch *fetch, int rc)
{
	fetch->to_blame = true;
	if (is_break(rc))
		return BEAM_E_GONE;
	return beam_tell(fetch->error, rc, "the server of the image: %s",
			 fetch->reader->ops->error(fetch->reader));
}

/* A fetch may have nothing left to read when a new reader connects. It still waits for that
 * reader's welcome, because the caller then asks that reader whether the image is still valid. */
static bool finished(const struct beam_fetch *fetch)
{
	return fetch->welcomed && fetch->complete && fetch->ndone == fetch->totals.nsegments;
}

int beam_fetch_run(struct beam_fetch *fetch, struct beam_reader *reader,
		   const struct beam_fetch_trust *trust, beam_fetch_tick_fn *tick, void *arg,
		   char *error)
{
	uint64_t heard_ms = beam_now_ms(), probed_ms = heard_ms;

	fetch->trust = trust;
	fetch->to_blame = false;
	fetch->reader = reader;
	fetch->welcomed = false;
	fetch->error = error;
	for (;;) {
		struct beam_reader_event event;
		int rc = beam_fetch_take_checked(fetch);

		if (rc)
			return rc;
		if (finished(fetch))
			break;
		rc = fetch->welcomed ? post(fetch) : 0;
		if (rc)
			return error[0] ? rc : transport_failed(fetch, rc);
		rc = wait_event(fetch, &event);
		uint64_t now = beam_now_ms();

		if (rc < 0)
			return transport_failed(fetch, rc);
		if (rc > 0)
			heard_ms = now;
		if (reader->heard_ms > heard_ms)
			heard_ms = reader->heard_ms;
		rc = rc > 0 ? on_event(fetch, &event) : 0;
		if (rc)
			return rc;
		rc = tick(arg);
		if (rc)
			return rc;
		if (now - heard_ms > GONE_AFTER_MS && !fetch->counts.queue_position)
			return transport_failed(fetch, BEAM_E_GONE);
		if (fetch->welcomed && now - heard_ms > PROBE_AFTER_MS &&
		    now - probed_ms > PROBE_AFTER_MS) {
			probed_ms = now;
			rc = reader->ops->check(reader);
			if (rc)
				return transport_failed(fetch, rc);
		}
	}
	mark_reads(fetch, false);
	return beam_fetch_check_file(fetch);
}

bool beam_fetch_blames_server(const struct beam_fetch *fetch)
{
	return fetch->to_blame;
}

void beam_fetch_totals(const struct beam_fetch *fetch, struct beam_wire_complete *totals,
		       struct beam_wire_vouched *vouched)
{
	*totals = fetch->totals;
	*vouched = fetch->totals_vouched;
}

void beam_fetch_detach(struct beam_fetch *fetch)
{
	beam_fetch_settle_checks(fetch);
	for (uint32_t i = 0; i < fetch->nknown; i++) {
		struct segment *segment = &fetch->segments[i];

		segment->rereads = 0; /* the next server starts with a count of its own */
		if (segment->state != READING && (segment->state != SEALED || !segment->buf))
			continue;
		fetch->sink.back(fetch->sink.ctx, i, segment->buf);
		segment->buf = NULL;
		segment->pieces = 0;
		/* Cannot fail: the heap held this index before, so it has room. */
		beam_index_heap_push(&fetch->sealed, i);
		segment->state = SEALED;
	}
	fetch->posting = BEAM_FETCH_NONE;
	fetch->reader = NULL;
}

int beam_fetch_check(struct beam_reader *reader, int timeout_ms, char *error)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)timeout_ms;
	int rc = BEAM_FAULT("pull-valid");

	rc = rc ? rc : reader->ops->check(reader);
	while (!rc) {
		struct beam_reader_event event;
		uint64_t now = beam_now_ms();

		rc = now < deadline ? reader->ops->next(reader, &event, (int)(deadline - now)) : 0;
		if (rc == 0)
			rc = -ETIMEDOUT;
		else if (rc == 1)
			rc = event.type == BEAM_READER_VALID ? 1 : 0;
	}
	if (rc == 1)
		return 0;
	if (is_break(rc))
		return BEAM_E_GONE;
	return beam_tell(error, rc, "is the image still valid? %s: %s (ask again: --fresh)",
			 beam_strerror(rc), reader->ops->error(reader));
}
