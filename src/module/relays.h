/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Relays: hosts that have pulled an image and serve it to others. A relay joins over a client
 * connection, and is a relay for as long as the connection lives. It receives a key, with which
 * tickets for it are made without asking it (transport/vouch.h). Main thread.
 */
#ifndef BEAM_RELAYS_H
#define BEAM_RELAYS_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"

#define BEAM_RELAY_NAME_BYTES 80 /* host:port */
#define BEAM_RELAY_AVOID_MAX  8

/* Relays that a reader refuses, because they have failed it. */
struct beam_relay_avoid {
	char name[BEAM_RELAY_AVOID_MAX][BEAM_RELAY_NAME_BYTES];
	size_t n;
};

/* A relay chosen for one reader, with the id of a ticket for it. */
struct beam_relay_pick {
	char name[BEAM_RELAY_NAME_BYTES]; /* "": none */
	char host[BEAM_ADDR_BYTES];
	uint32_t port;
	uint8_t key[BEAM_TICKET_KEY_BYTES]; /* the relay's */
	uint8_t id[BEAM_TICKET_ID_BYTES];
};

/* Called when the module is loaded. `changed` is called after relays went or hold another image. */
void beam_relays_open(void (*changed)(void));
/* Called about ten times per second: forgets the relays whose connections have ended. */
void beam_relays_on_cron(void);

/* RDBEAM.RELAY JOIN, HOLD, DROP: each replies to the client. `host` and `port` are where readers
 * connect to. */
int beam_relays_join(RedisModuleCtx *ctx, const char *host, long long port);
int beam_relays_hold(RedisModuleCtx *ctx, const struct beam_gen *gen, const struct beam_cut *cut);
int beam_relays_drop(RedisModuleCtx *ctx, const struct beam_gen *gen);

/* Notes a sign of life: RDBEAM.RELAY WAIT with its time, any other command with wait_ms -1. A relay
 * that is silent for more than twice its WAIT gets no readers until it is heard from again. A
 * client that is not a relay is ignored. */
void beam_relays_heard(uint64_t client, long long wait_ms);

/* Chooses a relay that holds the image: the one with the lowest load of readers and complaints, not
 * in `avoid`. If `client` is a relay that holds the image itself, only relays that held it earlier
 * are considered, so that no relay ends up waiting for itself. Returns false if there is none. */
bool beam_relays_pick(const struct beam_gen *gen, uint64_t client,
		      const struct beam_relay_avoid *avoid, struct beam_relay_pick *out);
/* Notes that a reader (its address) gave up on the last relay in `avoid`. */
void beam_relays_complain(const struct beam_relay_avoid *avoid, const char *reader);

/* True if the client with this id is a relay. */
bool beam_relays_is_one(uint64_t client);
/* Number of relays that do not hold the image and are not silent. */
uint32_t beam_relays_missing(const struct beam_gen *gen);
/* The i-th image held by any relay. Returns false past the last one. */
bool beam_relays_held(size_t i, struct beam_gen *gen, struct beam_cut *cut);

struct beam_relay_counts {
	uint64_t relays, tickets, complaints;
};
extern struct beam_relay_counts beam_relay_counts;

#endif
