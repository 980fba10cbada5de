/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The reading side of transports, in the pull tool. One thread. A reader reports events in the
 * order they happen; reads complete in any order. The contract suite in tests/contract runs over
 * every table.
 */
#ifndef BEAM_READER_H
#define BEAM_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct beam_reader {
	const struct beam_reader_ops *ops; /* first member of each transport's own struct */
	/* When the last bytes came (beam_now_ms), where not all of them make an event; else 0. */
	uint64_t heard_ms;
};

struct beam_reader_opts {
	const char *host;  /* name or address */
	const char *first; /* the address of `host` to try before the others; NULL: none */
	uint32_t port;
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_gen gen; /* expected; another in WELCOME is BEAM_E_STALE */
	bool vouched;        /* ask for signatures; servers over verbs refuse that */
	uint32_t depth;      /* reads in flight; 0: the transport's default */
	int connect_timeout_ms;
	bool use_tls; /* TCP only */
};

enum beam_reader_event_type {
	BEAM_READER_WAITING, /* waiting: server is at max-pulls */
	BEAM_READER_WELCOME, /* segment_bytes, read_max; reads may start when segments are sealed */
	BEAM_READER_VOUCHED, /* vouched: of the SEALED or COMPLETE that comes next; not checked */
	BEAM_READER_SEALED,  /* sealed */
	BEAM_READER_COMPLETE, /* complete */
	BEAM_READER_DONE,     /* the read with `cookie` has put its bytes; not yet checked by CRC */
	BEAM_READER_VALID,    /* answer to check */
};

struct beam_reader_event {
	enum beam_reader_event_type type;
	union {
		struct beam_wire_waiting waiting;
		struct beam_wire_welcome welcome;
		struct beam_wire_vouched vouched;
		struct beam_wire_sealed sealed;
		struct beam_wire_complete complete;
		uint64_t cookie;
	};
};

struct beam_reader_ops {
	const char *name; /* "tcp" */
	/* Connects and proves the ticket (HELLO is sent; the answer comes as an event). 0,
	 * BEAM_E_GONE, -ECONNREFUSED, -ETIMEDOUT, ... with *error_text naming host, port and
	 * remedy. */
	int (*open)(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES],
		    struct beam_reader **out);
	/* Most reads to come, of this reader, go into this memory, which stays mapped until close: a
	 * transport may register it by large parts. */
	void (*memory)(struct beam_reader *reader, void *base, uint64_t len_bytes);
	/* Queues one read: len_bytes <= read_max. buf stays the reader's until DONE or close.
	 * Its memory stays mapped until close: a transport may keep it registered. 0, or -EAGAIN when
	 * `depth` reads are in flight. */
	int (*read)(struct beam_reader *reader, uint32_t index, uint32_t offset, void *buf,
		    uint32_t len_bytes, uint64_t cookie);
	/* Says that segment `index` was read, checked and kept: it is not read again, and its memory
	 * may be another's from now on. A failure shows in `next`. */
	void (*taken)(struct beam_reader *reader, uint32_t index);
	/* Asks whether the generation is still valid: VALID, or next returns BEAM_E_STALE. */
	int (*check)(struct beam_reader *reader);
	/* Next event. 1 with *event; 0 after timeout_ms without one (-1: for ever); BEAM_E_STALE,
	 * BEAM_E_DENIED, BEAM_E_BUSY, BEAM_E_GONE, BEAM_E_PROTO, or the code the server sent; then
	 * only close is allowed and beam_reader_error has the text. */
	int (*next)(struct beam_reader *reader, struct beam_reader_event *event, int timeout_ms);
	const char *(*error)(const struct beam_reader *reader);
	/* Says DONE if the image was read whole, closes. Safe with reads in flight (their bufs are
	 * the caller's again). NULL-safe, clears the pointer. */
	void (*close)(struct beam_reader **reader, uint64_t bytes, uint64_t ms);
	/* A pollable fd for use with others, or -1. */
	int (*fd)(const struct beam_reader *reader);
};

extern const struct beam_reader_ops beam_tcp_reader;

#endif
