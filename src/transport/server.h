/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The serving side of a transport: listeners and sessions in the daemon's event loop. Each
 * transport has a table of functions; the daemon implements `struct beam_serve_images`, which knows
 * tickets and images but no sockets. Everything runs on the loop's thread.
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
	int file;         /* the memory file that `base` is in, for near readers; -1: none */
	uint64_t file_at; /* offset of `base` in it */
};

/* What the daemon offers to every transport. */
struct beam_serve_images {
	void *ctx;
	/* Uses up the ticket named in the hello: checks its id, age, address (text as from
	 * inet_ntop), proof, and that the generation can be served. Returns 0 with *image (one
	 * reference) and in `key` the key for the answer; BEAM_E_DENIED (logged here) or
	 * BEAM_E_STALE. Never BEAM_E_BUSY: queueing is up to the server. */
	int (*authorize)(void *ctx, const struct beam_wire_hello *hello, const char *peer_addr,
			 uint8_t key[BEAM_TICKET_KEY_BYTES], struct beam_served **image);
	/* Looks up, for TLS, the key of a ticket that this address may use; the ticket stays
	 * unused. Returns 0 or BEAM_E_DENIED (logged here). */
	int (*ticket_key)(void *ctx, const uint8_t id[BEAM_TICKET_ID_BYTES], const char *peer_addr,
			  uint8_t key[BEAM_TICKET_KEY_BYTES]);
	/* True when this address may talk to us at all, like Redis' protected mode. */
	bool (*admits)(void *ctx, const char *peer_addr);
	void (*release)(void *ctx, struct beam_served *image);
	void (*describe)(void *ctx, struct beam_served *image, struct beam_gen *gen,
			 uint32_t *segment_bytes);
	/* Gets the memory of a sealed segment, valid until the fence or until `taken`. Returns 0;
	 * BEAM_E_STALE when the image is gone or the memory was reused; -EAGAIN when the segment is
	 * not sealed yet; -ERANGE past the image's end. */
	int (*segment)(void *ctx, struct beam_served *image, uint32_t index,
		       struct beam_serve_segment *out);
	/* Gets the signature of a sealed segment, or of a complete image (BEAM_VOUCH_IMAGE).
	 * Returns 0 with *out; -EAGAIN when it is not there yet (`published` is called when it is);
	 * otherwise as `segment`. */
	int (*vouched)(void *ctx, struct beam_served *image, uint32_t index,
		       struct beam_wire_vouched *out);
	/* Number of indexes claimed so far: the upper bound of a scan for sealed segments. */
	uint32_t (*claimed)(void *ctx, struct beam_served *image);
	/* Returns true with *out once the image is complete. */
	bool (*complete)(void *ctx, struct beam_served *image, struct beam_wire_complete *out);
	/* A reader has segment `index` and will not read it again. NULL where memory is never
	 * reused before the image's end. */
	void (*taken)(void *ctx, struct beam_served *image, uint32_t index);
	/* The counts have changed: a session is being served, or memory was registered. */
	void (*moved)(void *ctx);
	/* Bookkeeping of sessions for INFO: bytes sent; a session that ended, well or not (logged
	 * once, in one line). */
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
	/* Ignore entries of `bind` that are not addresses; never query a name server. */
	bool no_names;
	uint32_t max_pulls;
	uint64_t rate_limit;
	uint32_t stall_timeout_s;
	bool must_tls; /* refuse pulls without TLS */
	bool lends;    /* let readers on this host read the memory themselves (near.h) */
	/* Called when the hardware behind the listeners is gone or has failed: the server should be
	 * stopped (also allowed from within the call) and opened again. Called at most once, and
	 * never by a transport without hardware of its own. */
	void (*lost)(void *arg);
	void *lost_arg;
};

/* The hardware that a transport serves from, if it has any of its own. */
struct beam_server_device {
	char name[32]; /* "": none */
	char gid[48];
	uint32_t port, mtu;
	uint32_t depth; /* READs of one session in flight */
	uint64_t registered_bytes;
};

struct beam_server_counts {
	uint32_t active, waiting, unauthenticated;
	struct beam_server_device device;
};

/* A pull that is being served, for monitoring. */
struct beam_server_pull {
	uint64_t number; /* unique within its transport while it runs */
	char peer[BEAM_ADDR_BYTES];
	struct beam_served *image;
	/* Sent so far; where the server does not see that, as far as the reader has reported. */
	uint64_t bytes;
	uint64_t ms; /* since it is being served */
};

struct beam_server_ops {
	const char *name; /* "tcp" */
	/* Starts listening. Returns 0; -EADDRINUSE and other errnos with a line in error_text that
	 * names address and port. */
	int (*open)(const struct beam_server_opts *opts, char error_text[BEAM_TEXT_BYTES],
		    struct beam_server **out);
	/* Sets new limits for later sessions and a new rate for all; address and port cannot be
	 * changed. */
	void (*configure)(struct beam_server *server, const struct beam_server_opts *opts);
	/* Segments were sealed, or the image is complete: announce them to its sessions. */
	void (*published)(struct beam_server *server, struct beam_served *image);
	/* The fence of an image: ends every session of it (telling them STALE where possible).
	 * Returns 0 once nothing reads its memory any more. Verbs may need time: then it returns
	 * -EAGAIN and calls `fenced(arg)` later. */
	int (*revoke)(struct beam_server *server, struct beam_served *image, const char *why,
		      void (*fenced)(void *arg), void *arg);
	/* The fence of one segment: true once no session of this image reads it any more, nor ever
	 * will. */
	bool (*done)(struct beam_server *server, struct beam_served *image, uint32_t index);
	/* Ends the sessions that still need the segment, telling them `why` where possible; `done`
	 * may become true a moment later. Returns how many there were. */
	uint32_t (*drop)(struct beam_server *server, struct beam_served *image, uint32_t index,
			 const char *why);
	void (*counts)(struct beam_server *server, struct beam_server_counts *out);
	/* Lists the pulls being served, at most `cap`, oldest first. Returns how many. */
	uint32_t (*pulls)(struct beam_server *server, struct beam_server_pull *out, uint32_t cap);
	/* Number of sessions of one image, for retention and slot reuse. */
	uint32_t (*sessions)(struct beam_server *server, struct beam_served *image);
	/* Accepts no more sessions and cuts the existing ones. Returns 0 when nothing reads any
	 * more; or -EAGAIN, and calls `stopped(arg)` when that is so: until then its fences still
	 * count. May be called once; after it has ended only close may follow. */
	int (*stop)(struct beam_server *server, void (*stopped)(void *arg), void *arg);
	/* To be called after stop. Accepts NULL; clears the pointer. */
	void (*close)(struct beam_server **server);
};

extern const struct beam_server_ops beam_tcp_server;

#endif
