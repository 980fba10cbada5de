/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The reader's half of the protocol in wire.h.
 */
#include "reader_talk.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rdbeam/error.h"
#include "sockets.h"

void reader_talk_begin(struct reader_talk *talk, const struct beam_reader_opts *opts)
{
	snprintf(talk->peer, sizeof(talk->peer), "%.60s:%u", opts->host, opts->port);
	memcpy(talk->key, opts->key, sizeof(talk->key));
	talk->gen = opts->gen;
	talk->hello.magic = BEAM_WIRE_MAGIC;
	talk->hello.version = BEAM_WIRE_VERSION;
	talk->hello.flags = opts->vouched ? BEAM_HELLO_VOUCHED : 0;
	memcpy(talk->hello.id, opts->id, sizeof(talk->hello.id));
	beam_random(talk->hello.nonce, sizeof(talk->hello.nonce));
	beam_wire_prove_hello(talk->key, &talk->hello);
}

int reader_talk_fail(struct reader_talk *talk, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(talk->error, sizeof(talk->error), fmt, args);
	va_end(args);
	talk->failed = code;
	return code;
}

int reader_talk_fail_proto(struct reader_talk *talk, const char *what)
{
	return reader_talk_fail(talk, BEAM_E_PROTO,
				"%s sent %s: is rdbeam's port what listens there?", talk->peer,
				what);
}

static int take_welcome(struct reader_talk *talk, const struct beam_wire_welcome *welcome)
{
	int err = beam_wire_check_welcome(talk->key, &talk->hello, welcome);

	explicit_bzero(talk->key, sizeof(talk->key));
	if (err)
		return reader_talk_fail(
		    talk, err,
		    "%s does not know the ticket's key: it is not the server that "
		    "RDBEAM.TICKET named",
		    talk->peer);
	if (welcome->gen.nonce != talk->gen.nonce || welcome->gen.counter != talk->gen.counter)
		return reader_talk_fail(talk, BEAM_E_STALE,
					"%s serves another generation: ask for a new ticket",
					talk->peer);
	if (!welcome->segment_bytes || welcome->segment_bytes % BEAM_SEGMENT_ALIGN ||
	    welcome->segment_bytes > BEAM_SEGMENT_MAX || !welcome->read_max ||
	    welcome->read_max > BEAM_WIRE_READ_MAX || welcome->read_max > welcome->segment_bytes)
		return reader_talk_fail_proto(talk, "sizes out of range");
	talk->welcome = *welcome;
	talk->welcomed = true;
	return 1;
}

static int take_complete(struct reader_talk *talk, const struct beam_wire_complete *complete)
{
	uint64_t most = (uint64_t)complete->nsegments * talk->welcome.segment_bytes;

	if (talk->complete || !complete->nsegments || complete->nsegments > BEAM_SEGMENTS_MAX ||
	    complete->image_bytes > most ||
	    most - complete->image_bytes >= talk->welcome.segment_bytes)
		return reader_talk_fail_proto(talk, "an impossible COMPLETE");
	talk->complete = true;
	talk->image_bytes = complete->image_bytes;
	return 1;
}

/* Takes the server's last message. Its text is printed later, so only printable characters are
 * kept. */
static int take_text(struct reader_talk *talk, enum beam_wire_type type,
		     const struct beam_wire_text *text)
{
	char plain[BEAM_TEXT_BYTES];
	int code = type == BEAM_WIRE_STALE ? BEAM_E_STALE : text->code;

	snprintf(plain, sizeof(plain), "%s", text->text);
	for (char *c = plain; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	if (code >= 0)
		code = BEAM_E_PROTO;
	return reader_talk_fail(talk, code, "%s says: %.180s", talk->peer, plain);
}

int reader_talk_take(struct reader_talk *talk, const struct beam_wire_message *m,
		     struct beam_reader_event *event)
{
	if (m->type == BEAM_WIRE_REFUSED || m->type == BEAM_WIRE_STALE ||
	    m->type == BEAM_WIRE_FAILED)
		return take_text(talk, m->type, &m->text);
	if (!talk->welcomed && m->type == BEAM_WIRE_WAITING) {
		talk->waiting = true;
		event->type = BEAM_READER_WAITING;
		event->waiting = m->waiting;
		return 1;
	}
	if (!talk->welcomed && m->type == BEAM_WIRE_WELCOME) {
		event->type = BEAM_READER_WELCOME;
		event->welcome = m->welcome;
		return take_welcome(talk, &m->welcome);
	}
	if (!talk->welcomed)
		return reader_talk_fail_proto(talk, "a message before WELCOME");
	switch (m->type) {
	case BEAM_WIRE_VOUCHED:
		if (!(talk->hello.flags & BEAM_HELLO_VOUCHED))
			return reader_talk_fail_proto(talk, "a VOUCHED that was not asked for");
		event->type = BEAM_READER_VOUCHED;
		event->vouched = m->vouched;
		return 1;
	case BEAM_WIRE_SEALED:
		if (m->sealed.index >= BEAM_SEGMENTS_MAX || !m->sealed.len_bytes ||
		    m->sealed.len_bytes > talk->welcome.segment_bytes)
			return reader_talk_fail_proto(talk, "an impossible SEALED");
		event->type = BEAM_READER_SEALED;
		event->sealed = m->sealed;
		return 1;
	case BEAM_WIRE_COMPLETE:
		event->type = BEAM_READER_COMPLETE;
		event->complete = m->complete;
		return take_complete(talk, &m->complete);
	case BEAM_WIRE_VALID:
		if (!talk->checking)
			return reader_talk_fail_proto(talk, "a VALID that was not asked for");
		talk->checking = false;
		event->type = BEAM_READER_VALID;
		return 1;
	default:
		return reader_talk_fail_proto(talk, "a message that a server does not send");
	}
}
