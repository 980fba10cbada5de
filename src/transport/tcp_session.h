/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared by the parts of the TCP server: tcp_server.c decides who may connect and who is served,
 * tcp_session.c has a connection's life and output, tcp_requests.c its input. A session that has
 * ended stays in the list as DEAD, holding nothing, until the last tcp_server_leave frees it; so
 * code that walks the list may end any session.
 */
#ifndef BEAM_TCP_SESSION_H
#define BEAM_TCP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "near.h"
#include "places.h"
#include "untold.h"

#define TCP_READS_MAX    64   /* READs queued in a session; a reader with more is broken */
#define TCP_REQUESTS_MAX 192  /* READs, CHECKs and TAKENs */
#define TCP_CONTROL_CAP  4096 /* SEALEDs between two DATAs, at most */
#define TCP_LISTENERS    16

enum session_state {
	SESSION_HELLO,   /* nothing proved yet */
	SESSION_WAITING, /* all places are taken */
	SESSION_SERVED,
	SESSION_CLOSING, /* has only its last message left to send; holds no image */
	SESSION_DEAD,
};

/* A request that is answered in its turn: a READ with its bytes, a CHECK, or a TAKEN, which takes
 * effect when all READs before it have been sent. */
struct tcp_request {
	enum beam_wire_type type;
	const uint8_t *base;
	uint32_t len_bytes;
	uint32_t tag; /* TAKEN: the segment's index */
};

struct tcp_session {
	struct tcp_session *next;
	struct tcp_server *server;
	enum session_state state;
	struct channel channel;
	bool knows_channel; /* known from its first byte: TLS or plain */
	struct beam_watch *watch;
	uint32_t watched; /* epoll events */
	char peer[BEAM_ADDR_BYTES];
	uint64_t start_ms;
	uint64_t active_ms; /* last byte in or out */
	/* Since when the socket has not taken any pending output; 0: it takes it. */
	uint64_t stalled_ms;
	uint64_t sent_bytes;

	/* What the reader copies itself; it reports how much. */
	struct near_lender lender;
	bool wants_near;
	bool takes_back;                 /* is to be told that nothing is lent any more */
	uint8_t nonce[BEAM_NONCE_BYTES]; /* of HELLO */
	uint64_t near_bytes;

	struct beam_served *image; /* one reference, while WAITING and SERVED */
	struct beam_wire_welcome welcome;
	struct place place;
	struct beam_wire_waiting told; /* last reported; position 0: nothing yet */

	bool vouched;  /* the reader wants signatures */
	bool discover; /* there may be segments to announce */
	bool told_complete;
	struct untold untold;
	uint64_t *taken; /* a bit for each segment that the reader is done with */
	uint32_t taken_words;

	/* Input: at most one message is incomplete. */
	size_t in_bytes;
	uint8_t in[2 * BEAM_WIRE_MESSAGE_MAX];

	struct tcp_request requests[TCP_REQUESTS_MAX]; /* ring */
	uint32_t first_request, nrequests, nreads;

	/* Output: control bytes, then the rest of one DATA's payload. Nothing is queued after a
	 * payload until it is sent. */
	size_t control_at, control_bytes;
	uint8_t control[TCP_CONTROL_CAP];
	const uint8_t *payload;
	uint32_t payload_bytes;
	uint8_t *own_payload; /* a copy made at the end, so that the image can be released */
	bool has_last;
	/* Sent after that payload; then the connection closes. */
	struct beam_wire_message last;

	/* Rate limit: sessions that want to send wait in line for their share. */
	bool in_line;
	struct tcp_session *line_next;
	uint32_t grant_bytes;
};

struct tcp_bucket {
	uint64_t rate; /* bytes per second, 0: no limit */
	uint64_t tokens, burst;
	uint64_t refilled_ns;
	struct tcp_session *line_head, *line_tail;
	struct beam_timer *timer;
};

struct tcp_listener {
	struct tcp_server *server;
	int fd;
	struct beam_watch *watch;
};

struct tcp_server {
	struct beam_loop *loop;
	const struct beam_serve_images *images;
	struct places places;
	uint64_t stall_ms;
	bool must_tls, lends;
	struct tcp_listener listeners[TCP_LISTENERS];
	uint32_t nlisteners;
	/* Out of fds: nothing is accepted until the next tick. */
	bool paused;
	struct tcp_session *sessions; /* oldest first */
	struct beam_timer *tick;
	uint32_t busy; /* nesting depth; only the outermost leave frees */
	struct tcp_bucket bucket;
};

/* ---- tcp_session.c -------------------------------------------------------------------------- */

/* Takes over a connected socket. Returns 0, or -errno with the fd closed. */
int tcp_session_start(struct tcp_server *server, int fd, const char *peer);
/* Starts serving: sends WELCOME, then answers requests. */
void tcp_session_serve(struct tcp_session *session);
/* The server lends nothing any more: what was lent is to be read by TCP. */
void tcp_session_take_back(struct tcp_session *session);
/* Reports its queue position to a waiting session, if it has changed. */
void tcp_session_wait(struct tcp_session *session, const struct beam_wire_waiting *place);
/* Sends what the socket and the rate limit allow now. Does nothing for a DEAD session. */
void tcp_session_send(struct tcp_session *session);
/* Ends the session with a last message of `type` (REFUSED, STALE or FAILED), which the next
 * tcp_session_send sends. On return the image is released and its memory is not read any more; the
 * socket stays open for a moment so that the peer can read the reason. */
void tcp_session_end(struct tcp_session *session, enum beam_wire_type type, int code,
		     const char *text);
/* The reader is done with the segment, and everything that it requested before is with the kernel:
 * its memory will not be read again. */
void tcp_session_take(struct tcp_session *session, uint32_t index);
/* True when the reader has said that it is done with the segment. */
bool tcp_session_has_taken(const struct tcp_session *session, uint32_t index);
/* Ends the session at once. `code` 0: the reader was done. */
void tcp_session_cut(struct tcp_session *session, int code);

/* ---- tcp_requests.c ------------------------------------------------------------------------- */

/* Reads and handles input; requests are queued, and answered by the next tcp_session_send. */
void tcp_session_receive(struct tcp_session *session);

/* ---- tcp_server.c --------------------------------------------------------------------------- */

/* Requests a place for an authenticated session: it waits for one (tcp_server_leave serves it at
 * once if one is free), or is refused when too many wait. */
void tcp_server_admit(struct tcp_session *session);
/* To be called around every entry into the server from outside; may be nested. The last leave frees
 * dead sessions, fills free places, reports queue positions and keeps the tick running. */
void tcp_server_enter(struct tcp_server *server);
void tcp_server_leave(struct tcp_server *server);

/* ---- tcp_bucket.c: the rate limit over all sessions ------------------------------------------ */

/* Sets the rate in bytes per second; 0: no limit. */
void tcp_bucket_configure(struct tcp_bucket *bucket, uint64_t rate);
/* Returns how many of `want` payload bytes may be sent now. 0: the session was put in line, and its
 * tcp_session_send will be called when it is its turn; the last tcp_server_leave arranges that. */
uint32_t tcp_bucket_allow(struct tcp_session *session, uint32_t want);
/* Takes tokens for payload bytes that were sent. */
void tcp_bucket_spend(struct tcp_session *session, uint32_t sent);
/* Removes the session from the line, if it is there. */
void tcp_bucket_leave(struct tcp_session *session);
/* Sets the timer for the next round of those in line; without memory for a timer they are cut. No
 * session may be in the middle of an operation. */
void tcp_bucket_settle(struct tcp_server *server);

/* ---- tcp_listen.c ---------------------------------------------------------------------------- */

/* Listens on every address of opts->bind. Returns 0, or -errno with error_text and nothing open. */
int tcp_listen(const struct beam_server_opts *opts, struct tcp_listener listeners[TCP_LISTENERS],
	       uint32_t *nlisteners, char error_text[BEAM_TEXT_BYTES]);

#endif
