/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who serves a reader: the daemon, rdbeam.fanout times an image, or else a relay that holds it, by a
 * ticket that only that reader can use. Main thread.
 */
#ifndef BEAM_TICKETS_H
#define BEAM_TICKETS_H

#include "ctl.h"
#include "redis_api.h"
#include "request.h"

/* 0 or -ENOMEM. At load. */
int beam_tickets_open(RedisModuleCtx *ctx);

/* Answers within the command, or lets the client wait for a relay. The generation is chosen. */
int beam_ticket_answer(RedisModuleCtx *ctx, struct request *prepared);
/* The same for a client that waits. */
void beam_ticket_serve(struct request *request);

/* Relays came, went, or hold something else. */
void beam_tickets_on_relays(void);
void beam_tickets_on_relay_key(const struct beam_ctl_relay_key *key);

#endif
