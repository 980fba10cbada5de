/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A segment is unknown, sealed (in the heap, lowest index first), reading, being checked, or done.
 * One segment at a time is being posted; several are in flight. */
#include "fetch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"
#include "clock.h"
#include "crc64.h"
#include "fault.h"
#include "image_reader.h"
#include "index_heap.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "tell.h"
#include "vouch.h"

#define TICK_MS        50
#define PIECE_BYTES    (1u << 20)
#define PROBE_AFTER_MS 5000  /* without an event: ask whether the server is there */
#define GONE_AFTER_MS  20000 /* then give the connection up */
#define NONE           UINT32_MAX

enum segment_state { UNKNOWN, SEALED, READING, CHECKING, DONE };

struct segment {
	uint64_t crc;
	uint8_t *buf; /* while reading and being checked */
	uint32_t len_bytes;
	uint32_t pieces; /* in flight */
	uint8_t state;
	uint8_t rereads;
};

struct beam_fetch {
	struct beam_segment_sink sink;
	struct beam_checker *checker;
	struct beam_reader *reader;
	char *error;
	uint32_t segment_bytes; /* 0 until the first WELCOME; final once begun */
	bool begun;             /* the sink has it */
	uint32_t piece_bytes;
	bool to_blame;                        /* the server is, for the failure of this run */
	const struct beam_fetch_trust *trust; /* of this run */
	struct beam_wire_vouched pending;     /* of what is told next */
	/* By index, checked signatures; grown with `segments` when there is a trust to keep. */
	struct beam_wire_vouched *vouched;
	uint32_t vouched_cap;
	struct beam_wire_vouched totals_vouched;
	bool welcomed; /* by this reader: what an earlier one told of must wait for it too */

	struct segment *segments;
	uint32_t nknown, cap;
	struct beam_index_heap sealed;
	uint32_t posting; /* NONE: no segment is half posted */
	uint32_t posted_bytes;
	bool no_room; /* the sink said -EAGAIN: its wake_fd tells when to ask again */
	uint32_t ndone, nchecking;

	bool complete;
	struct beam_wire_complete totals;
	/* Of the highest index verified so far, which is the last segment in the end. */
	uint32_t last_index;
	uint64_t last_prefix_crc;
	uint64_t last_tail;
	struct beam_fetch_counts counts;
};

int beam_fetch_open(const struct beam_segment_sink *sink, struct beam_fetch **out)
{
	struct beam_fetch *fetch = calloc(1, sizeof(*fetch));

	if (!fetch)
		return -ENOMEM;
	fetch->sink = *sink;
	fetch->posting = NONE;
	int err = beam_checker_open(&fetch->checker);

	if (err) {
		free(fetch);
		return err;
	}
	*out = fetch;
	return 0;
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

static int bad(struct beam_fetch *fetch, const char *what, uint64_t value)
{
	fetch->to_blame = true;
	return beam_tell(fetch->error, BEAM_E_PROTO, "the server of the image sent %s %llu", what,
			 (unsigned long long)value);
}

static void tell_memory(struct beam_fetch *fetch)
{
	uint64_t len_bytes = 0;
	void *base = fetch->sink.memory(fetch->sink.ctx, &len_bytes);

	if (len_bytes)
		fetch->reader->ops->memory(fetch->reader, base, len_bytes);
}

static int on_welcome(struct beam_fetch *fetch, const struct beam_wire_welcome *welcome)
{
	uint32_t bytes = welcome->segment_bytes;

	if (bytes < BEAM_SEGMENT_ALIGN || bytes > BEAM_SEGMENT_MAX || bytes % BEAM_SEGMENT_ALIGN)
		return bad(fetch, "a wrong segment size", bytes);
	if (!welcome->read_max || welcome->read_max > BEAM_WIRE_READ_MAX)
		return bad(fetch, "a wrong read size", welcome->read_max);
	fetch->counts.queue_position = 0;
	fetch->piece_bytes = welcome->read_max < PIECE_BYTES ? welcome->read_max : PIECE_BYTES;
	if (fetch->begun && fetch->segment_bytes != bytes)
		return bad(fetch, "another segment size than before:", bytes);
	fetch->segment_bytes = bytes;
	if (fetch->begun)
		tell_memory(fetch);
	return 0;
}

/* With the first segment, whose signature holds for the segment size too. */
static int begin_sink(struct beam_fetch *fetch)
{
	uint32_t bytes = fetch->segment_bytes;

	if (fetch->begun)
		return 0;
	int rc = fetch->sink.begin(fetch->sink.ctx, bytes);

	if (rc)
		return beam_tell(fetch->error, rc, "no buffer for segments of %u bytes: %s", bytes,
				 beam_strerror(rc));
	fetch->begun = true;
	fetch->counts.segment_bytes = bytes;
	tell_memory(fetch);
	return 0;
}

static int know(struct beam_fetch *fetch, uint32_t index)
{
	if (index >= fetch->cap) {
		uint32_t cap = fetch->cap ? fetch->cap : 256;

		while (cap <= index)
			cap *= 2;
		struct segment *grown = BEAM_FAULT("fetch-know")
					    ? NULL
					    : realloc(fetch->segments, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		memset(grown + fetch->cap, 0, (cap - fetch->cap) * sizeof(*grown));
		fetch->segments = grown;
		fetch->cap = cap;
	}
	if (index >= fetch->nknown)
		fetch->nknown = index + 1;
	return 0;
}

static struct beam_vouch_for vouch_for(const struct beam_fetch *fetch)
{
	return (struct beam_vouch_for){fetch->trust->gen, fetch->segment_bytes};
}

static bool is_right(const struct beam_fetch *fetch, const struct beam_wire_sealed *sealed)
{
	const struct beam_vouch_for what = vouch_for(fetch);

	return fetch->pending.index == sealed->index &&
	       !beam_vouch_check_segment(fetch->trust->public_key, &what, sealed, &fetch->pending);
}

static int keep_vouched(struct beam_fetch *fetch, uint32_t index)
{
	if (index >= fetch->vouched_cap) {
		uint32_t cap = fetch->cap;
		struct beam_wire_vouched *grown = realloc(fetch->vouched, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		for (uint32_t i = fetch->vouched_cap; i < cap; i++)
			grown[i].index = BEAM_VOUCH_IMAGE; /* no segment's */
		fetch->vouched = grown;
		fetch->vouched_cap = cap;
	}
	fetch->vouched[index] = fetch->pending;
	return 0;
}

static bool is_vouched(const struct beam_fetch *fetch, uint32_t index)
{
	return index < fetch->vouched_cap && fetch->vouched[index].index == index;
}

static int on_sealed(struct beam_fetch *fetch, const struct beam_wire_sealed *sealed)
{
	if (!fetch->segment_bytes)
		return bad(fetch, "a segment before its welcome:", sealed->index);
	if (sealed->index >= BEAM_SEGMENTS_MAX)
		return bad(fetch, "a segment number out of range:", sealed->index);
	if (!sealed->len_bytes || sealed->len_bytes > fetch->segment_bytes)
		return bad(fetch, "a wrong segment length", sealed->len_bytes);
	/* Before anything is made of it: what a liar says must not be in the way of the next server. */
	if (fetch->trust->vouched && !is_right(fetch, sealed))
		return bad(fetch, "no signature of the primary's for segment", sealed->index);
	int rc = begin_sink(fetch);

	if (rc)
		return rc;
	if (know(fetch, sealed->index) ||
	    (fetch->trust->vouched && keep_vouched(fetch, sealed->index)))
		return beam_tell(fetch->error, -ENOMEM, "out of memory");
	struct segment *segment = &fetch->segments[sealed->index];

	if (segment->state != UNKNOWN) {
		/* Said again after a reconnection; a generation never changes what it has sealed.
		 */
		if (segment->crc == sealed->crc && segment->len_bytes == sealed->len_bytes)
			return 0;
		return bad(fetch, "another checksum for segment", sealed->index);
	}
	segment->crc = sealed->crc;
	segment->len_bytes = sealed->len_bytes;
	segment->state = SEALED;
	return beam_index_heap_push(&fetch->sealed, sealed->index);
}

static int on_complete(struct beam_fetch *fetch, const struct beam_wire_complete *complete)
{
	uint64_t full = (uint64_t)(complete->nsegments - 1) * fetch->segment_bytes;

	if (!complete->nsegments || complete->nsegments > BEAM_SEGMENTS_MAX ||
	    !fetch->segment_bytes)
		return bad(fetch, "a wrong number of segments:", complete->nsegments);
	if (fetch->nknown > complete->nsegments)
		return bad(fetch, "more segments than it has:", fetch->nknown);
	if (complete->image_bytes <= full || complete->image_bytes > full + fetch->segment_bytes)
		return bad(fetch, "a wrong image size", complete->image_bytes);
	const struct beam_vouch_for what = vouch_for(fetch);

	if (fetch->trust->vouched &&
	    (fetch->pending.index != BEAM_VOUCH_IMAGE ||
	     beam_vouch_check_image(fetch->trust->public_key, &what, complete, &fetch->pending)))
		return bad(fetch, "no signature of the primary's for an image of segments:",
			   complete->nsegments);
	fetch->totals_vouched = fetch->pending;
	fetch->complete = true;
	fetch->totals = *complete;
	fetch->counts.nsegments = complete->nsegments;
	fetch->counts.image_bytes = complete->image_bytes;
	return 0;
}

/* All reads of a segment are done. */
static int check(struct beam_fetch *fetch, uint32_t index)
{
	struct segment *segment = &fetch->segments[index];

	if (BEAM_FAULT("pull-segment") == BEAM_FAULT_FLIP)
		segment->buf[segment->len_bytes / 2] ^= 1;
	segment->state = CHECKING;
	int rc = beam_checker_give(fetch->checker, &(struct beam_check){
						       .index = index,
						       .len_bytes = segment->len_bytes,
						       .buf = segment->buf,
						       .digested = fetch->trust->vouched,
						   });

	if (rc)
		segment->state = READING;
	else
		fetch->nchecking++;
	return rc;
}

static int read_again(struct beam_fetch *fetch, uint32_t index)
{
	struct segment *segment = &fetch->segments[index];

	fetch->to_blame = true;
	fetch->sink.back(fetch->sink.ctx, index, segment->buf);
	segment->buf = NULL;
	segment->state = SEALED;
	int rc = beam_index_heap_push(&fetch->sealed, index);

	/* It stays to be read all the same: another server may have it right. */
	if (segment->rereads++ == BEAM_FETCH_REREADS)
		return beam_tell(fetch->error, BEAM_E_CRC,
				 "segment %u: wrong checksum in %d readings; nothing of it "
				 "was used (memory or network damage: see the primary's "
				 "kernel log)",
				 index, BEAM_FETCH_REREADS + 1);
	fetch->counts.rereads++;
	return rc;
}

static void remember_last(struct beam_fetch *fetch, const struct beam_check *checked)
{
	struct beam_manifest manifest;
	uint32_t tail = checked->len_bytes < 8 ? checked->len_bytes : 8;
	uint8_t last[8] = {0};

	memcpy(last, checked->buf + checked->len_bytes - tail, tail);
	if (beam_manifest_open(checked->buf, checked->len_bytes, &manifest) == 0)
		fetch->counts.keys = manifest.footer.nitems;
	fetch->last_index = checked->index;
	fetch->last_prefix_crc = checked->prefix_crc;
	fetch->last_tail = beam_get_le64(last);
}

/* By the primary's word: CRCs are no match for who means to deceive. */
static bool right_digest(const struct beam_fetch *fetch, const struct beam_check *checked)
{
	return !checked->digested || memcmp(checked->digest, fetch->vouched[checked->index].digest,
					    BEAM_DIGEST_BYTES) == 0;
}

static bool is_right_sum(const struct beam_fetch *fetch, const struct beam_check *checked)
{
	return checked->crc == fetch->segments[checked->index].crc && right_digest(fetch, checked);
}

/* Gives a segment that is right to the sink. 0 or the sink's code. */
static int keep(struct beam_fetch *fetch, const struct beam_check *checked)
{
	uint32_t index = checked->index;
	struct segment *segment = &fetch->segments[index];
	const struct beam_segment_proof proof = {
	    .crc = segment->crc, .vouched = fetch->trust->vouched ? &fetch->vouched[index] : NULL};

	if (index >= fetch->last_index)
		remember_last(fetch, checked);
	int rc = fetch->sink.take(fetch->sink.ctx, index, segment->buf, segment->len_bytes, &proof);

	if (rc)
		return rc;
	segment->state = DONE;
	segment->buf = NULL;
	fetch->ndone++;
	fetch->counts.bytes += segment->len_bytes;
	fetch->counts.last_crc_ms = beam_now_ms();
	return 0;
}

static int on_checked(struct beam_fetch *fetch, const struct beam_check *checked)
{
	if (!is_right_sum(fetch, checked))
		return read_again(fetch, checked->index);
	int rc = keep(fetch, checked);

	if (rc)
		return beam_tell(fetch->error, rc, "cannot keep segment %u of the image: %s",
				 checked->index, beam_strerror(rc));
	fetch->reader->ops->taken(fetch->reader, checked->index);
	return 0;
}

static int take_checked(struct beam_fetch *fetch)
{
	struct beam_check checked;
	int rc = 0;

	while (!rc && beam_checker_take(fetch->checker, &checked)) {
		fetch->nchecking--;
		fetch->segments[checked.index].state =
		    READING; /* detach gives it back if this fails */
		rc = on_checked(fetch, &checked);
	}
	return rc;
}

/* What is being checked came from a reader that is gone. It is settled before the next one begins,
 * which must not answer for it: what is right stays, the rest is read from the next. */
static void settle_checks(struct beam_fetch *fetch)
{
	struct pollfd pfd = {.fd = beam_checker_fd(fetch->checker), .events = POLLIN};
	struct beam_check checked;

	while (fetch->nchecking) {
		if (!beam_checker_take(fetch->checker, &checked)) {
			poll(&pfd, 1, -1);
			continue;
		}
		fetch->nchecking--;
		fetch->segments[checked.index].state =
		    READING; /* given back by detach if it stays so */
		/* A sink that fails says so again to the next run. */
		if (is_right_sum(fetch, &checked))
			(void)keep(fetch, &checked);
	}
}

static int on_done(struct beam_fetch *fetch, uint64_t cookie)
{
	if (cookie >= fetch->nknown || fetch->segments[cookie].state != READING ||
	    !fetch->segments[cookie].pieces)
		return bad(fetch, "data nobody asked for, segment", cookie);
	if (--fetch->segments[cookie].pieces || fetch->posting == cookie)
		return 0;
	int rc = check(fetch, (uint32_t)cookie);

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
		return on_welcome(fetch, &event->welcome);
	case BEAM_READER_VOUCHED:
		fetch->pending = event->vouched;
		return 0;
	case BEAM_READER_SEALED:
		return on_sealed(fetch, &event->sealed);
	case BEAM_READER_COMPLETE:
		return on_complete(fetch, &event->complete);
	case BEAM_READER_DONE:
		return on_done(fetch, event->cookie);
	case BEAM_READER_VALID:
		return 0;
	}
	return bad(fetch, "an unknown event", event->type);
}

/* Chooses the lowest sealed segment for posting. 0 with fetch->posting set, or -EAGAIN. */
static int choose(struct beam_fetch *fetch)
{
	uint32_t index;
	uint8_t *buf;

	if (!beam_index_heap_peek(&fetch->sealed, &index))
		return -EAGAIN;
	/* Known from an earlier, trusted server: this one has yet to show the signature. */
	if (fetch->trust->vouched && !is_vouched(fetch, index))
		return -EAGAIN;
	int rc = fetch->sink.room(fetch->sink.ctx, index, &buf);

	fetch->no_room = rc == -EAGAIN;
	if (rc == -EAGAIN)
		return rc;
	if (rc)
		return beam_tell(fetch->error, rc, "no room for segment %u of the image: %s", index,
				 beam_strerror(rc));
	beam_index_heap_pop(&fetch->sealed);
	fetch->segments[index].state = READING;
	fetch->segments[index].buf = buf;
	fetch->posting = index;
	fetch->posted_bytes = 0;
	return 0;
}

/* Posts reads until the transport, the sink or the sealed segments are exhausted. */
static int post(struct beam_fetch *fetch)
{
	for (;;) {
		if (fetch->posting == NONE) {
			int rc = choose(fetch);

			if (rc)
				return rc == -EAGAIN ? 0 : rc;
		}
		struct segment *segment = &fetch->segments[fetch->posting];
		uint32_t len = segment->len_bytes - fetch->posted_bytes;

		if (len > fetch->piece_bytes)
			len = fetch->piece_bytes;
		int rc = fetch->reader->ops->read(
		    fetch->reader, fetch->posting, fetch->posted_bytes,
		    segment->buf + fetch->posted_bytes, len, fetch->posting);

		if (rc == -EAGAIN)
			return 0;
		if (rc)
			return rc;
		if (!fetch->counts.first_read_ms)
			fetch->counts.first_read_ms = beam_now_ms();
		segment->pieces++;
		fetch->posted_bytes += len;
		if (fetch->posted_bytes == segment->len_bytes)
			fetch->posting = NONE;
	}
}

/* The next event, or 0 when there is none within a tick, or something else has happened. */
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

/* The sum of all segments is the file's checksum, which the last segment carries too. */
static int check_file(struct beam_fetch *fetch)
{
	struct beam_crc64_shift shift;
	uint32_t last = fetch->totals.nsegments - 1;
	uint64_t crc = BEAM_FAULT("pull-verify") == BEAM_FAULT_FLIP;

	beam_crc64_shift_init(&shift, fetch->segment_bytes);
	for (uint32_t i = 0; i < last; i++) {
		if (fetch->segments[i].len_bytes != fetch->segment_bytes)
			return bad(fetch, "a short segment in the middle:", i);
		crc = beam_crc64_append(crc, fetch->segments[i].crc, &shift);
	}
	uint32_t len = fetch->segments[last].len_bytes;

	if (len < BEAM_LAST_TAIL_BYTES || fetch->counts.bytes != fetch->totals.image_bytes)
		return bad(fetch, "a wrong image size", fetch->totals.image_bytes);
	beam_crc64_shift_init(&shift, len - 8);
	crc = beam_crc64_append(crc, fetch->last_prefix_crc, &shift);
	if (crc != fetch->last_tail || crc != fetch->totals.file_crc)
		return beam_tell(fetch->error, BEAM_E_CRC,
				 "the image's checksum is wrong though each segment's is right: "
				 "make a new snapshot (--fresh)");
	return 0;
}

/* What the transport says when it ends. BEAM_E_GONE is not final, so it leaves no line. */
static int transport_failed(struct beam_fetch *fetch, int rc)
{
	fetch->to_blame = true;
	if (rc == BEAM_E_GONE || rc == -ECONNRESET || rc == -EPIPE || rc == -ETIMEDOUT)
		return BEAM_E_GONE;
	return beam_tell(fetch->error, rc, "the server of the image: %s",
			 fetch->reader->ops->error(fetch->reader));
}

static bool finished(const struct beam_fetch *fetch)
{
	return fetch->complete && fetch->ndone == fetch->totals.nsegments;
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
		int rc = take_checked(fetch);

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
		if (rc > 0) {
			heard_ms = now;
			rc = on_event(fetch, &event);
			if (rc)
				return rc;
		}
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
	return check_file(fetch);
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
	settle_checks(fetch);
	for (uint32_t i = 0; i < fetch->nknown; i++) {
		struct segment *segment = &fetch->segments[i];

		segment->rereads = 0; /* the next server's own */
		if (segment->state != READING)
			continue;
		fetch->sink.back(fetch->sink.ctx, i, segment->buf);
		segment->buf = NULL;
		segment->pieces = 0;
		segment->state = SEALED;
		/* Cannot fail: the heap held this index before. */
		beam_index_heap_push(&fetch->sealed, i);
	}
	fetch->posting = NONE;
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
	return beam_tell(error, rc, "is the image still valid? %s: %s (ask again: --fresh)",
			 beam_strerror(rc), reader->ops->error(reader));
}
