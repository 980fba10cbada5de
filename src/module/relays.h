/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Relays: hosts that pulled an image and serve it on. A relay joins by a client connection, and is one
 * for as long as that lives. It gets a key, from which tickets for it are made without asking it
 * (transport/vouch.h). Main thread.
 */
#ifndef BEAM_RELAYS_H
#define BEAM_RELAYS_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"

#define BEAM_RELAY_NAME_BYTES 80 /* host:port */
#define BEAM_RELAY_AVOID_MAX  8

/* Relays that a reader does not want again. */
struct beam_relay_avoid {
	char name[BEAM_RELAY_AVOID_MAX][BEAM_RELAY_NAME_BYTES];
	size_t n;
};

/* A relay chosen for one reader, and a ticket's id for it. */
struct beam_relay_pick {
	char name[BEAM_RELAY_NAME_BYTES]; /* "": none */
	char host[BEAM_ADDR_BYTES];
	uint32_t port;
	uint8_t key[BEAM_TICKET_KEY_BYTES]; /* the relay's */
	uint8_t id[BEAM_TICKET_ID_BYTES];
};

/* `changed` is called when relays came, went, or hold something else. 0 or -EINVAL. At load. */
int beam_relays_open(RedisModuleCtx *ctx, void (*changed)(void));

/* RDBEAM.RELAY JOIN, HOLD, DROP: they reply. `host` "" : the address that the client comes from. */
int beam_relays_join(RedisModuleCtx *ctx, const char *host, long long port);
int beam_relays_hold(RedisModuleCtx *ctx, const struct beam_gen *gen, const struct beam_cut *cut);
int beam_relays_drop(RedisModuleCtx *ctx, const struct beam_gen *gen);

/* A word of a relay's client, or of another's, which changes nothing: RDBEAM.RELAY WAIT with its time, else wait_ms -1. Who
 * does not come again in twice that time gets no readers until it does. */
void beam_relays_heard(uint64_t client, long long wait_ms);

/* The one that got the fewest readers of those that hold the image, in what order did they come to
 * hold it: a relay is sent only to those that came before, so that none waits for itself. False when
 * there is none. */
bool beam_relays_pick(const struct beam_gen *gen, uint64_t client,
		      const struct beam_relay_avoid *avoid, struct beam_relay_pick *out);
/* Takes notice of a reader that gave up on relays. */
void beam_relays_complain(const struct beam_relay_avoid *avoid, const char *reader);

bool beam_relays_is_one(uint64_t client);
/* Relays that do not hold the image. */
uint32_t beam_relays_missing(const struct beam_gen *gen);
/* Image number i of those that relays hold. False past the last. */
bool beam_relays_held(size_t i, struct beam_gen *gen, struct beam_cut *cut);

struct beam_relay_counts {
	uint64_t relays, tickets, complaints;
};
extern struct beam_relay_counts beam_relay_counts;

#endif
