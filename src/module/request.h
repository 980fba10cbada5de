/* SPDX-License-Identifier: BSD-3-Clause
 * A client's RDBEAM.TICKET, RDBEAM.SNAPSHOT or RDBEAM.RELAY WAIT, and the reply. waiting.c keeps
 * the blocked ones, replies.c writes the replies. Main thread. */
#ifndef BEAM_REQUEST_H
#define BEAM_REQUEST_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"
#include "relays.h"
#include "requests.h"

#define TICKET_TTL_MS 5000

enum request_kind {
	REQUEST_TICKET,
	REQUEST_EARLY_TICKET, /* becomes a TICKET when a daemon listens as configured */
	REQUEST_SNAPSHOT,
	REQUEST_NEWS
};

struct request {
	struct request *next;
	enum request_kind kind;
	RedisModuleBlockedClient *blocked; /* NULL: replied within the command */
	long long wait_ms;
	uint64_t forks; /* number of the server's forks when it arrived */
	/* gen is known: a SNAPSHOT waits for its end, a TICKET for the one to serve it, and NEWS
	 * for a different gen. */
	bool opened;
	bool outlived; /* a TICKET: a daemon has died since it came */
	bool done;     /* a SNAPSHOT is complete; the status may be about a later one by now */
	char addr[BEAM_ADDR_BYTES];
	uint64_t client;
	struct beam_ticket_ask ask;
	uint64_t since_ms;            /* a TICKET with relays: when gen became known */
	bool keyless;                 /* the daemon has been asked for the key of `relay` */
	struct beam_relay_pick relay; /* who serves it; no name: the daemon */
	/* the reply */
	struct beam_ctl_ticket ticket;
	struct beam_cut cut;
	struct beam_gen gen;
	bool reused;
	char error[BEAM_TEXT_BYTES]; /* "": no error */
};

/* Head of the list of blocked requests, newest first. */
struct request *beam_request_first(void);
/* Blocks the client for timeout_ms milliseconds (0: without limit) and adds a copy of the request
 * to the list. Returns the copy, or NULL after replying that there is no memory. */
struct request *beam_request_block(RedisModuleCtx *ctx, const struct request *prepared,
				   long long timeout_ms);
/* Removes the request from the list and lets its client have the reply. Frees the request. */
void beam_request_finish(struct request *request);
/* Replies with `error` to all that wait for a generation and do not know it yet. */
void beam_request_finish_all(const char *error);
/* Sets the error to reply with, which begins with its code (ERR, BUSY ...). */
void beam_request_fail(struct request *request, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Replies with the error, the ticket, or the snapshot's state. */
int beam_request_reply(RedisModuleCtx *ctx, const struct request *request);

/* Replies with up to BEAM_TICKET_KEY_BYTES bytes as hex digits. */
void beam_reply_hex(RedisModuleCtx *ctx, const uint8_t *bytes, size_t len);

#endif
