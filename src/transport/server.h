/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The serving side of transports: listeners and sessions in the daemon's loop. One table of
 * functions for each transport; the daemon implements `struct beam_serve_images`, which knows
 * tickets and images and nothing of sockets. All on the loop's thread.
 */
#ifndef BEAM_SERVER_H
#define BEAM_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "wire.h"

struct beam_server; /* one transport's listeners and sessions */
struct beam_served; /* the daemon's image, opaque here */

struct beam_serve_segment {
	const void *base;
	uint32_t len_bytes;
	uint64_t crc;
};

/* What the daemon offers to every transport. */
struct beam_serve_images {
	void *ctx;
	/* Uses up the ticket named in the hello: checks id, time, address (text, as inet_ntop),
	 * proof, and that the generation is servable. 0 with *image (one reference) and the key for
	 * the answer in `key`; BEAM_E_DENIED (logged here), BEAM_E_STALE, BEAM_E_BUSY is not
	 * returned: queueing is the server's. */
	int (*authorize)(void *ctx, const struct beam_wire_hello *hello, const char *peer_addr,
			 uint8_t key[BEAM_TICKET_KEY_BYTES], struct beam_served **image);
	/* The key of a ticket that this address may use, for TLS; the ticket stays unused. 0 or
	 * BEAM_E_DENIED (logged here). */
	int (*ticket_key)(void *ctx, const uint8_t id[BEAM_TICKET_ID_BYTES], const char *peer_addr,
			  uint8_t key[BEAM_TICKET_KEY_BYTES]);
	/* Whether anybody at this address is to be heard at all, as in Redis' protected mode. */
	bool (*admits)(void *ctx, const char *peer_addr);
	void (*release)(void *ctx, struct beam_served *image);
	void (*describe)(void *ctx, struct beam_served *image, struct beam_gen *gen,
			 uint32_t *segment_bytes);
	/* A sealed segment's memory, valid until the fence or until `taken`. BEAM_E_STALE: no more,
	 * or its memory was used again; -EAGAIN when not sealed; -ERANGE past the image. */
	int (*segment)(void *ctx, struct beam_served *image, uint32_t index,
		       struct beam_serve_segment *out);
	/* The primary's word for a sealed segment, or for a complete image (BEAM_VOUCH_IMAGE). 0 with
	 * *out; -EAGAIN: not yet, and `published` is called when it is there; or as `segment`. */
	int (*vouched)(void *ctx, struct beam_served *image, uint32_t index,
		       struct beam_wire_vouched *out);
	/* Number of indices claimed so far (upper bound for a scan of what is sealed). */
	uint32_t (*claimed)(void *ctx, struct beam_served *image);
	/* true and *out once the image is complete. */
	bool (*complete)(void *ctx, struct beam_served *image, struct beam_wire_complete *out);
	/* A reader has segment `index` and reads it no more. NULL where memory is never used again
	 * before the image's end. */
	void (*taken)(void *ctx, struct beam_served *image, uint32_t index);
	/* The counts have changed: a session was given its place, memory was registered. */
	void (*moved)(void *ctx);
	/* Session bookkeeping for INFO: bytes sent, session ended well or not (logged once, one
	 * line). */
	void (*sent)(void *ctx, struct beam_served *image, uint64_t bytes);
	void (*ended)(void *ctx, struct beam_served *image, const char *peer_addr, int code,
		      uint64_t bytes, uint64_t ms);
};

struct beam_server_opts {
	struct beam_loop *loop;
	const struct beam_serve_images *images; /* outlives the server */
	uint32_t port;
	uint32_t nbind;
	const char (*bind)[BEAM_ADDR_BYTES];
	bool no_names; /* what of `bind` is no address is not there: nobody is asked for it */
	uint32_t max_pulls;
	uint64_t rate_limit;
	uint32_t stall_timeout_s;
	bool must_tls; /* no pull in clear */
	/* The hardware that it listens on is gone, or failed: it is to be stopped, which may be done from
	 * within, and opened again. At most once. Not called where a transport has none of its own. */
	void (*lost)(void *arg);
	void *lost_arg;
};

/* The hardware that a transport serves from, where it has any of its own. */
struct beam_server_device {
	char name[32]; /* "": none */
	char gid[48];
	uint32_t port, mtu;
	uint32_t depth; /* READs of one session under way at once */
	uint64_t registered_bytes;
};

struct beam_server_counts {
	uint32_t active, waiting, unauthenticated;
	struct beam_server_device device;
};

/* A pull that is served, for those who watch. */
struct beam_server_pull {
	uint64_t number; /* its own as long as it runs, within its transport */
	char peer[BEAM_ADDR_BYTES];
	struct beam_served *image;
	uint64_t bytes; /* sent; where the server does not see it: as far as the reader has said */
	uint64_t ms;    /* since it has its place */
};

struct beam_server_ops {
	const char *name; /* "tcp" */
	/* Listens. 0; -EADDRINUSE and other errnos with *error_text naming address and port. */
	int (*open)(const struct beam_server_opts *opts, char error_text[BEAM_TEXT_BYTES],
		    struct beam_server **out);
	/* New limits for sessions to come and rate for all; not address or port. */
	void (*configure)(struct beam_server *server, const struct beam_server_opts *opts);
	/* Segments were sealed, or the image is complete: tell its sessions. */
	void (*published)(struct beam_server *server, struct beam_served *image);
	/* The fence: ends every session of this image (they are told STALE where that is possible)
	 * and returns once nothing reads its memory any more. Verbs may need time: returns 0, or
	 * -EAGAIN and calls `fenced(arg)` later. */
	int (*revoke)(struct beam_server *server, struct beam_served *image, const char *why,
		      void (*fenced)(void *arg), void *arg);
	/* The fence of one segment: true once no session of this image reads it any more, or ever
	 * will. */
	bool (*done)(struct beam_server *server, struct beam_served *image, uint32_t index);
	/* Ends the sessions that are not done with it, telling them `why` where that is possible;
	 * `done` may take a moment more. Returns how many there were. */
	uint32_t (*drop)(struct beam_server *server, struct beam_served *image, uint32_t index,
			 const char *why);
	void (*counts)(struct beam_server *server, struct beam_server_counts *out);
	/* The pulls that are served, at most `cap` of them, oldest first. Returns how many. */
	uint32_t (*pulls)(struct beam_server *server, struct beam_server_pull *out, uint32_t cap);
	/* Sessions of one image, for retention and slot reuse. */
	uint32_t (*sessions)(struct beam_server *server, struct beam_served *image);
	/* Takes no more sessions and cuts those that there are. 0 once nothing reads any more; or
	 * -EAGAIN, and `stopped(arg)` is called when that is so: until then its fences still count.
	 * Called once; only close may come after its end. */
	int (*stop)(struct beam_server *server, void (*stopped)(void *arg), void *arg);
	void (*close)(struct beam_server **server); /* after stop. NULL-safe, clears */
};

extern const struct beam_server_ops beam_tcp_server;

#endif
