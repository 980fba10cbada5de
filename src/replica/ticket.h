/* SPDX-License-Identifier: BSD-3-Clause
 *
 * RDBEAM.TICKET: a pull asks the primary for an image; the ticket says where the image can be read,
 * and authorizes one reader.
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
	bool by_tls; /* over TCP, TLS is required */
	/* The relay that the ticket is for: its host, and the name by which the primary knows it;
	 * "": none, the ticket is for the primary's daemon. */
	char host[BEAM_ADDR_BYTES];
	/* Address of the primary that issued the ticket, as text; "": a unix socket. */
	char from[BEAM_ADDR_BYTES];
	char relay[BEAM_RELAY_NAME_BYTES];
	uint8_t public_key[BEAM_PUBLIC_BYTES]; /* verifies the daemon's signatures */
	char transport[32];                    /* what the primary offers: "verbs,tcp" */
	char replid[BEAM_REPLID_BYTES];        /* "": nothing can continue from this image */
	int64_t offset;
	bool reused;
	uint64_t copy_ms, keys;
	int64_t min_replicas;
	uint64_t ttl_ms;
	uint64_t asked_ms; /* beam_now_ms() before it was requested */
};

struct beam_ticket_opts {
	const struct beam_redis_addr *from; /* for the second connection, which makes a backlog */
	bool fresh;                         /* do not use a retained image */
	bool relayed;                       /* a ticket for a relay is acceptable */
	struct beam_gen gen;                /* this image only; counter 0: any */
	/* Relays that have failed this pull, BEAM_RELAY_NAME_BYTES each. */
	const char (*avoid)[BEAM_RELAY_NAME_BYTES];
	size_t navoid;
	int timeout_ms;
};

/* Requests a ticket. A primary without a replication backlog is first made to keep one. Returns 0,
 * BEAM_E_DENIED, BEAM_E_BUSY, BEAM_E_UNSUPPORTED (no module), BEAM_E_PROTO, BEAM_E_SERVER, or an
 * error of the connection, with the line in `error`. */
int beam_ticket_get(struct beam_redis *redis, const struct beam_ticket_opts *opts, char *error,
		    struct beam_ticket *out);

/* True when the ticket may have expired by `now_ms`. */
bool beam_ticket_is_late(const struct beam_ticket *ticket, uint64_t now_ms);

/* Parses the reply map; exported for the tests. Returns 0 or BEAM_E_PROTO. */
int beam_ticket_parse(const redisReply *map, struct beam_ticket *out);

#endif
