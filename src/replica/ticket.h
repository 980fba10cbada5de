/* SPDX-License-Identifier: BSD-3-Clause
 *
 * RDBEAM.TICKET: the primary's answer to "I want an image".
 */
#ifndef BEAM_TICKET_H
#define BEAM_TICKET_H

#include <stdbool.h>
#include <stdint.h>

#include "redis.h"
#include "wire.h"

#define BEAM_RELAY_NAME_BYTES 80 /* host:port */
#define BEAM_TICKET_AVOID_MAX 8

struct beam_ticket {
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES]; /* secret */
	struct beam_gen gen;
	uint32_t port;
	bool by_tls; /* over TCP, only by TLS */
	/* The relay that it is for, as host and as the primary names it; "" : the primary's daemon. */
	char host[BEAM_ADDR_BYTES];
	char from
	    [BEAM_ADDR_BYTES]; /* the primary's address that gave it, as text; "": a unix socket */
	char relay[BEAM_RELAY_NAME_BYTES];
	uint8_t public_key[BEAM_PUBLIC_BYTES]; /* of the daemon's signatures */
	char transport[32];                    /* what the primary offers: "verbs,tcp" */
	char replid[BEAM_REPLID_BYTES];        /* "" when the image cannot be continued from */
	int64_t offset;
	bool reused;
	uint64_t copy_ms, keys;
	int64_t min_replicas;
	uint64_t ttl_ms;
	uint64_t asked_ms; /* beam_now_ms() before it was given */
};

struct beam_ticket_opts {
	const struct beam_redis_addr *from; /* for the second connection that makes a backlog */
	bool fresh;                         /* no retained image */
	bool relayed;                       /* one for a relay will do */
	struct beam_gen gen;                /* this image and no other; counter 0: any */
	/* Relays that have failed this pull, BEAM_RELAY_NAME_BYTES each. */
	const char (*avoid)[BEAM_RELAY_NAME_BYTES];
	size_t navoid;
	int timeout_ms;
};

/* Asks for a ticket. A primary without a replication backlog is given one first. 0, BEAM_E_DENIED,
 * BEAM_E_BUSY, BEAM_E_UNSUPPORTED (no module), BEAM_E_PROTO, BEAM_E_SERVER, with the line in
 * `error`. */
int beam_ticket_get(struct beam_redis *redis, const struct beam_ticket_opts *opts, char *error,
		    struct beam_ticket *out);

/* True when it may have been too late for it at `now_ms`. */
bool beam_ticket_is_late(const struct beam_ticket *ticket, uint64_t now_ms);

/* Reads the reply map; for the above and the tests. 0 or BEAM_E_PROTO. */
int beam_ticket_parse(const redisReply *map, struct beam_ticket *out);

#endif
