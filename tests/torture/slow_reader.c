/* SPDX-License-Identifier: BSD-3-Clause
 * Reads are queued as the transport takes them, and it stops when an answer has come, with others on their
 * way: what the daemon has yet to send is of memory that the next generation wants. */
#include "slow_reader.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "marked_image.h"
#include "rdbeam/error.h"

#define PATIENCE_MS 60000

struct slow_pull {
	const struct slow_order *order;
	struct beam_reader *reader;
	const struct marked_copy *expected;
	uint8_t *bytes; /* as they came */
	struct beam_wire_sealed sealed[MARKED_SEGMENTS];
	uint32_t nsealed, posting; /* which of them is being asked for */
	uint32_t offset;           /* in it */
	uint32_t asked, answered;  /* reads */
	uint32_t nsegments;        /* 0: not complete */
	struct slow_report *report;
};

static size_t place(const struct slow_pull *pull, uint32_t index, uint32_t offset)
{
	return (size_t)index * pull->expected->segment_bytes + offset;
}

static uint32_t piece_at(const struct slow_pull *pull, uint32_t len_bytes, uint32_t offset)
{
	uint32_t left = len_bytes - offset;

	return left < pull->order->piece_bytes ? left : pull->order->piece_bytes;
}

/* As many as the transport takes. */
static int post(struct slow_pull *pull)
{
	while (pull->posting < pull->nsealed) {
		const struct beam_wire_sealed *at = &pull->sealed[pull->posting];
		uint32_t len = piece_at(pull, at->len_bytes, pull->offset);
		int err = beam_tcp_reader.read(pull->reader, at->index, pull->offset,
					       pull->bytes + place(pull, at->index, pull->offset),
					       len, (uint64_t)at->index << 32 | pull->offset);

		if (err)
			return err == -EAGAIN ? 0 : err;
		pull->asked++;
		pull->offset += len;
		if (pull->offset == at->len_bytes) {
			pull->posting++;
			pull->offset = 0;
		}
	}
	return 0;
}

static bool told_right(const struct slow_pull *pull, const struct beam_wire_sealed *sealed)
{
	const struct marked_copy *expected = pull->expected;

	return sealed->index < expected->nsegments && pull->nsealed < expected->nsegments &&
	       sealed->len_bytes == expected->len_bytes[sealed->index] &&
	       sealed->crc == expected->crcs[sealed->index];
}

static enum slow_verdict mixed(struct slow_pull *pull, uint32_t index, uint32_t offset)
{
	pull->report->index = index;
	pull->report->offset = offset;
	return SLOW_MIXED;
}

/* SLOW_READY: all is well, and more is to come. */
static enum slow_verdict take(struct slow_pull *pull, const struct beam_reader_event *event)
{
	if (event->type == BEAM_READER_SEALED) {
		if (!told_right(pull, &event->sealed))
			return mixed(pull, event->sealed.index, 0);
		pull->sealed[pull->nsealed++] = event->sealed;
	} else if (event->type == BEAM_READER_COMPLETE) {
		pull->nsegments = event->complete.nsegments;
		if (pull->nsegments != pull->expected->nsegments)
			return mixed(pull, pull->nsegments, 0);
	} else if (event->type == BEAM_READER_DONE) {
		uint32_t index = (uint32_t)(event->cookie >> 32), offset = (uint32_t)event->cookie;
		uint32_t len = piece_at(pull, pull->expected->len_bytes[index], offset);
		size_t at = place(pull, index, offset);

		pull->answered++;
		pull->report->bytes += len;
		if (memcmp(pull->bytes + at, pull->expected->bytes + at, len) != 0)
			return mixed(pull, index, offset);
		if (pull->order->stop_every && pull->answered % pull->order->stop_every == 0)
			raise(SIGSTOP);
	} else if (event->type == BEAM_READER_VALID) {
		return SLOW_WHOLE;
	}
	return SLOW_READY;
}

static enum slow_verdict read_all(struct slow_pull *pull)
{
	bool checking = false;

	for (;;) {
		struct beam_reader_event event;
		int err = post(pull), n;

		if (!err && !checking && pull->nsegments && pull->posting == pull->nsegments &&
		    pull->asked == pull->answered) {
			err = beam_tcp_reader.check(pull->reader);
			checking = true;
		}
		n = err ? err : beam_tcp_reader.next(pull->reader, &event, PATIENCE_MS);
		if (n != 1) {
			pull->report->code = n ? n : -ETIMEDOUT;
			return n == BEAM_E_STALE ? SLOW_STALE : SLOW_BROKEN;
		}
		enum slow_verdict verdict = take(pull, &event);

		if (verdict != SLOW_READY)
			return verdict;
	}
}

static enum slow_verdict enter(struct slow_pull *pull)
{
	struct beam_reader_event event = {0};
	char text[BEAM_TEXT_BYTES] = "";
	int n = beam_tcp_reader.open(&pull->order->opts, text, &pull->reader);

	if (n) {
		fprintf(stderr, "generations: a reader does not connect: %s\n", text);
		pull->report->code = n;
		return SLOW_BROKEN;
	}
	int fd = beam_tcp_reader.fd(pull->reader), bytes = pull->order->buffer_bytes;

	if (bytes && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)))
		perror("generations: SO_RCVBUF");
	do {
		n = beam_tcp_reader.next(pull->reader, &event, PATIENCE_MS);
	} while (n == 1 && event.type != BEAM_READER_WELCOME);
	if (n == 1)
		return SLOW_READY;
	pull->report->code = n ? n : -ETIMEDOUT;
	return n == BEAM_E_STALE || n == BEAM_E_BUSY ? SLOW_REFUSED : SLOW_BROKEN;
}

static void obey(const struct slow_order *order, struct marked_copy *expected, uint8_t *bytes,
		 struct slow_report *report)
{
	struct slow_pull pull = {
	    .order = order, .expected = expected, .bytes = bytes, .report = report};

	*report = (struct slow_report){.counter = order->opts.gen.counter};
	report->verdict = enter(&pull);
	if (report->verdict == SLOW_READY) {
		if (marked_copy_make(expected, &order->opts.gen))
			_exit(1);
		/* Not what an earlier pull has left there. */
		memset(bytes, 0xa5, place(&pull, expected->nsegments, 0));
		report->verdict = read_all(&pull);
	}
	if (pull.reader)
		beam_tcp_reader.close(&pull.reader, report->bytes, 1);
}

_Noreturn void slow_reader(int sock, uint32_t segment_bytes)
{
	size_t len_bytes = (size_t)MARKED_SEGMENTS * segment_bytes;
	struct marked_copy expected = {.bytes = malloc(len_bytes), .segment_bytes = segment_bytes};
	struct slow_report report = {.verdict = SLOW_READY};
	uint8_t *bytes = malloc(len_bytes);
	struct slow_order order;

	while (bytes && expected.bytes && send(sock, &report, sizeof(report), MSG_NOSIGNAL) > 0 &&
	       recv(sock, &order, sizeof(order), 0) == (ssize_t)sizeof(order)) {
		order.opts.host = "127.0.0.1";
		obey(&order, &expected, bytes, &report);
	}
	_exit(bytes && expected.bytes ? 0 : 1);
}
