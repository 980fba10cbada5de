/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parts of the TCP server share: tcp_server.c owns who may connect and who has a place,
 * tcp_session.c one connection's life and output, tcp_requests.c its input. A session that has
 * ended stays in the list as DEAD, holding nothing, until the last tcp_server_leave frees it:
 * whoever walks the list may end any session.
 */
#ifndef BEAM_TCP_SESSION_H
#define BEAM_TCP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "places.h"
#include "untold.h"

#define TCP_READS_MAX    64   /* READs queued in one session; more is a broken reader */
#define TCP_REQUESTS_MAX 192  /* READs, CHECKs and TAKENs */
#define TCP_CONTROL_CAP  4096 /* SEALEDs between two DATAs, at most */
#define TCP_LISTENERS    8

enum session_state {
	SESSION_HELLO,   /* has proved nothing yet */
	SESSION_WAITING, /* all places are taken */
	SESSION_SERVED,
	SESSION_CLOSING, /* has its last message to take; holds no image */
	SESSION_DEAD,
};

/* What is answered in its turn: a READ with its bytes, a CHECK, or a TAKEN, which takes effect when
 * all READs before it are sent. */
struct tcp_request {
	enum beam_wire_type type;
	const uint8_t *base;
	uint32_t len_bytes;
	uint32_t tag; /* TAKEN: the index */
};

struct tcp_session {
	struct tcp_session *next;
	struct tcp_server *server;
	enum session_state state;
	struct channel channel;
	bool knows_channel; /* its first byte has told whether it is TLS */
	struct beam_watch *watch;
	uint32_t watched; /* epoll events */
	char peer[BEAM_ADDR_BYTES];
	uint64_t start_ms;
	uint64_t active_ms; /* last byte in or out */
	uint64_t
	    stalled_ms; /* since when the socket takes none of what is to be sent; 0: it does */
	uint64_t sent_bytes;

	struct beam_served *image; /* one reference, WAITING and SERVED */
	struct beam_wire_welcome welcome;
	struct place place;
	struct beam_wire_waiting told; /* position 0: nothing yet */

	bool vouched;  /* the reader wants each segment vouched for */
	bool discover; /* there may be news of segments */
	bool told_complete;
	struct untold untold;
	uint64_t *taken; /* a bit for each segment that the reader is done with */
	uint32_t taken_words;

	/* In: at most one message is not whole. */
	size_t in_bytes;
	uint8_t in[2 * BEAM_WIRE_MESSAGE_MAX];

	struct tcp_request requests[TCP_REQUESTS_MAX]; /* ring */
	uint32_t first_request, nrequests, nreads;

	/* Out: control bytes, then the rest of one DATA's payload. Nothing is put behind a payload
	 * until it is sent. */
	size_t control_at, control_bytes;
	uint8_t control[TCP_CONTROL_CAP];
	const uint8_t *payload;
	uint32_t payload_bytes;
	uint8_t *own_payload; /* copied at the end, so that the image can go */
	bool has_last;
	struct beam_wire_message last; /* goes out after that payload; then the connection closes */

	/* Rate limit: sessions that want to send stand in line for their share. */
	bool in_line;
	struct tcp_session *line_next;
	uint32_t grant_bytes;
};

struct tcp_bucket {
	uint64_t rate; /* bytes per second, 0: none */
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
	bool must_tls;
	struct tcp_listener listeners[TCP_LISTENERS];
	uint32_t nlisteners;
	bool paused;                  /* out of fds: nothing is accepted until the next tick */
	struct tcp_session *sessions; /* oldest first */
	struct beam_timer *tick;
	uint32_t busy; /* callbacks under way: nothing is freed below them */
	struct tcp_bucket bucket;
};

/* ---- tcp_session.c -------------------------------------------------------------------------- */

/* Takes over a connected socket. 0, or -errno and the fd is closed. */
int tcp_session_start(struct tcp_server *server, int fd, const char *peer);
/* Gives a place: WELCOME, then service. */
void tcp_session_serve(struct tcp_session *session);
/* Tells a waiting session its place, if that is new. */
void tcp_session_wait(struct tcp_session *session, const struct beam_wire_waiting *place);
/* Sends what socket and rate take now. Nothing happens to a DEAD one. */
void tcp_session_send(struct tcp_session *session);
/* Ends with a last message of `type` (REFUSED, STALE or FAILED), which the next tcp_session_send
 * takes out. The image is released on return, and its memory is not read any more; the socket lives
 * on for a moment so that the peer can read why. */
void tcp_session_end(struct tcp_session *session, enum beam_wire_type type, int code,
		     const char *text);
/* Whether the reader has said that it is done with a segment. */
bool tcp_session_has_taken(const struct tcp_session *session, uint32_t index);
/* Ends at once. `code` 0: the reader was done. */
void tcp_session_cut(struct tcp_session *session, int code);

/* ---- tcp_requests.c ------------------------------------------------------------------------- */

/* Takes in what has come, and queues the requests in it; the answers go out with the next
 * tcp_session_send. */
void tcp_session_receive(struct tcp_session *session);

/* ---- tcp_server.c --------------------------------------------------------------------------- */

/* An authenticated session wants a place: it waits for one (tcp_server_leave gives it one at once
 * if there is one free), or is refused when too many wait. */
void tcp_server_admit(struct tcp_session *session);
/* Around every entry into the server from outside. The last leave frees the dead, fills free
 * places, tells positions and keeps the tick. */
void tcp_server_enter(struct tcp_server *server);
void tcp_server_leave(struct tcp_server *server);

/* ---- tcp_bucket.c: the rate limit over all sessions ------------------------------------------ */

void tcp_bucket_configure(struct tcp_bucket *bucket, uint64_t rate);
/* How many of `want` payload bytes may be sent now. 0: the session was put in line, and its
 * tcp_session_send is called when its turn has come, for which the last tcp_server_leave sees. */
uint32_t tcp_bucket_allow(struct tcp_session *session, uint32_t want);
void tcp_bucket_spend(struct tcp_session *session, uint32_t sent);
void tcp_bucket_leave(struct tcp_session *session);
/* Sets the time of the next turn for those in line; without memory for that they are cut. No session
 * may be in the middle of something. */
void tcp_bucket_settle(struct tcp_server *server);

/* ---- tcp_listen.c ---------------------------------------------------------------------------- */

/* Listens on every address of opts->bind. 0, or -errno with error_text and nothing open. */
int tcp_listen(const struct beam_server_opts *opts, struct tcp_listener listeners[TCP_LISTENERS],
	       uint32_t *nlisteners, char error_text[BEAM_TEXT_BYTES]);

#endif
