/* SPDX-License-Identifier: BSD-3-Clause
 * A client's RDBEAM.TICKET or RDBEAM.SNAPSHOT, and its answer. waiting.c keeps those that
 * wait, replies.c writes them out. Main thread. */
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
	REQUEST_EARLY_TICKET, /* becomes a TICKET when the daemon listens as it is configured */
	REQUEST_SNAPSHOT,
	REQUEST_NEWS
};

struct request {
	struct request *next;
	enum request_kind kind;
	RedisModuleBlockedClient *blocked; /* NULL: answered within the command */
	long long wait_ms;
	uint64_t forks; /* of the server, when it came */
	bool
	    opened; /* gen is known: a SNAPSHOT waits for its end, a TICKET for who shall serve it, and
		      * NEWS for another */
	char addr[BEAM_ADDR_BYTES];
	uint64_t client;
	struct beam_ticket_ask ask;
	uint64_t since_ms;            /* a TICKET for relays: gen is known since then */
	bool keyless;                 /* the daemon was asked for the key of `relay` */
	struct beam_relay_pick relay; /* who serves it; no name: the daemon */
	/* the answer */
	struct beam_ctl_ticket ticket;
	struct beam_cut cut;
	struct beam_gen gen;
	bool reused;
	char error[BEAM_TEXT_BYTES]; /* "" : it worked */
};

/* The first of those that wait, the last that came. */
struct request *beam_request_first(void);
/* Lets the client wait: for ever if timeout_ms is 0. NULL: it was told that there is no memory. */
struct request *beam_request_block(RedisModuleCtx *ctx, const struct request *prepared,
				   long long timeout_ms);
/* Takes it off the list and lets its client have the answer; the request is gone. */
void beam_request_finish(struct request *request);
/* Answers those that wait for a generation by an error; with `opened_too` those that know theirs. */
void beam_request_finish_all(bool opened_too, const char *error);
void beam_request_fail(struct request *request, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Replies the error, the ticket, or the snapshot's state. */
int beam_request_reply(RedisModuleCtx *ctx, const struct request *request);

/* Replies up to BEAM_TICKET_KEY_BYTES bytes as hex digits. */
void beam_reply_hex(RedisModuleCtx *ctx, const uint8_t *bytes, size_t len);

#endif
