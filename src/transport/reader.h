/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The reading side of a transport, used by the pull tool on one thread. A reader reports events in
 * the order in which they happen; reads complete in any order. The contract suite in tests/contract
 * runs over every table.
 */
#ifndef BEAM_READER_H
#define BEAM_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct beam_reader {
	/* The first member of each transport's own struct. */
	const struct beam_reader_ops *ops;
	/* When the last bytes arrived (beam_now_ms), for transports where some arrivals make no
	 * event; else 0. */
	uint64_t heard_ms;
	/* Bytes copied from the server's memory on this host (near.h) instead of over a network. */
	uint64_t near_bytes;
};

struct beam_reader_opts {
	const char *host;  /* name or address */
	const char *first; /* address of `host` to try first; NULL: none */
	uint32_t port;
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_gen gen; /* expected; another one in WELCOME is BEAM_E_STALE */
	bool vouched;        /* request signatures; verbs servers refuse that */
	uint32_t depth;      /* reads in flight; 0: the transport's default */
	int connect_timeout_ms;
	bool use_tls; /* TCP only */
	bool near;    /* TCP only: read the memory of a server on this host (near.h) */
};

enum beam_reader_event_type {
	BEAM_READER_WAITING, /* waiting: the server is at max-pulls */
	/* welcome: segment_bytes, read_max. Reads may start as soon as segments are sealed. */
	BEAM_READER_WELCOME,
	/* vouched: signature of the SEALED or COMPLETE that comes next; not yet checked. */
	BEAM_READER_VOUCHED,
	BEAM_READER_SEALED,   /* sealed */
	BEAM_READER_COMPLETE, /* complete */
	/* The bytes of the read with `cookie` are in its buffer; their CRC is not yet checked. */
	BEAM_READER_DONE,
	BEAM_READER_VALID, /* answer to check */
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
	/* Connects and presents the ticket (HELLO is sent; the answer comes as an event). Returns
	 * 0, BEAM_E_GONE, -ECONNREFUSED, -ETIMEDOUT, ... with a line in error_text that names host,
	 * port and remedy. */
	int (*open)(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES],
		    struct beam_reader **out);
	/* Announces that most of this reader's later reads go into this memory, which stays mapped
	 * until close: a transport may register it in large parts. */
	void (*memory)(struct beam_reader *reader, void *base, uint64_t len_bytes);
	/* Queues one read, len_bytes <= read_max. The reader owns buf until DONE or close; its
	 * memory must stay mapped until close, since a transport may keep it registered. Returns 0,
	 * or -EAGAIN when `depth` reads are in flight. */
	int (*read)(struct beam_reader *reader, uint32_t index, uint32_t offset, void *buf,
		    uint32_t len_bytes, uint64_t cookie);
	/* Announces that segment `index` was read, checked and kept: it will not be read again, and
	 * the server may reuse its memory. A failure shows in `next`. */
	void (*taken)(struct beam_reader *reader, uint32_t index);
	/* Asks whether the generation is still valid: the answer is a VALID event, or next returns
	 * BEAM_E_STALE. */
	int (*check)(struct beam_reader *reader);
	/* Gets the next event. Returns 1 with *event; 0 when there was none within timeout_ms (-1:
	 * wait for ever); BEAM_E_STALE, BEAM_E_DENIED, BEAM_E_BUSY, BEAM_E_GONE, BEAM_E_PROTO, or
	 * the code that the server sent. After an error only `error` and `close` may be called;
	 * `error` has the text. */
	int (*next)(struct beam_reader *reader, struct beam_reader_event *event, int timeout_ms);
	const char *(*error)(const struct beam_reader *reader);
	/* Sends DONE if the whole image was read, and closes. `bytes` and `ms` tell the server how
	 * much was read in which time. Safe with reads in flight (their buffers belong to the
	 * caller again). Accepts NULL; clears the pointer. */
	void (*close)(struct beam_reader **reader, uint64_t bytes, uint64_t ms);
	/* A descriptor that can be polled together with others, or -1. */
	int (*fd)(const struct beam_reader *reader);
};

extern const struct beam_reader_ops beam_tcp_reader;

#endif
