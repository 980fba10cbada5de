/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decides who serves a reader: the daemon, rdbeam.fanout times per image, or else a relay that
 * holds it, by a ticket that only that reader can use. Main thread.
 */
#ifndef BEAM_TICKETS_H
#define BEAM_TICKETS_H

#include "ctl.h"
#include "redis_api.h"
#include "request.h"

/* Called when the module is loaded. Returns 0 or -ENOMEM. */
int beam_tickets_open(RedisModuleCtx *ctx);
/* Called when it is unloaded, or could not be loaded. */
void beam_tickets_close(void);

/* For a request whose generation is known: replies within the command, or blocks the client until a
 * relay can serve it. Returns REDISMODULE_OK. */
int beam_ticket_answer(RedisModuleCtx *ctx, struct request *prepared);
/* The same for a client that is blocked already. */
void beam_ticket_serve(struct request *request);

/* Called when relays came, went, or hold another image, and when the daemon has sent a ticket's
 * key. */
void beam_tickets_on_relays(void);
void beam_tickets_on_relay_key(const struct beam_ctl_relay_key *key);

#endif
