/* SPDX-License-Identifier: BSD-3-Clause
 *
 * RDBEAM.TICKET, RDBEAM.SNAPSHOT and RDBEAM.RELAY WAIT: clients that wait for a generation. A
 * retained image that the backlog still reaches is handed out at once; otherwise a module fork
 * makes a snapshot in memory, as soon as no other child of the server is running. If relays hold
 * the image, tickets are for them, so that the daemon sends it rdbeam.fanout times at most. Main
 * thread.
 */
#ifndef BEAM_REQUESTS_H
#define BEAM_REQUESTS_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"
#include "relays.h"

/* Called when the module is loaded. Returns 0 or -ENOMEM. */
int beam_requests_open(RedisModuleCtx *ctx);
/* Called when it is unloaded, or could not be loaded. */
void beam_requests_close(void);

struct beam_ticket_ask {
	bool fresh;
	bool relayed;        /* a ticket for a relay is accepted */
	struct beam_gen gen; /* exactly this image; counter 0: any */
	struct beam_relay_avoid avoid;
};

/* Replies with a ticket, at once or when there is an image, or with an error. All commands return
 * REDISMODULE_OK. */
int beam_requests_ticket(RedisModuleCtx *ctx, const struct beam_ticket_ask *ask);
/* With wait_ms 0, replies as soon as the snapshot has begun, otherwise when it is complete or
 * wait_ms milliseconds have passed. */
int beam_requests_snapshot(RedisModuleCtx *ctx, long long wait_ms);

/* Replies with the newest generation as soon as that differs from `known`, or with nil after
 * wait_ms milliseconds (0: no limit). */
int beam_requests_news(RedisModuleCtx *ctx, const struct beam_gen *known, long long wait_ms);
/* Writes the client's address: an IP address, 127.0.0.1 for a unix socket, "" if unknown. */
void beam_requests_client_address(RedisModuleCtx *ctx, char out[BEAM_ADDR_BYTES]);

/* Events of the link and of the server's children. */
void beam_requests_on_opened(const struct beam_ctl_opened *opened);
void beam_requests_on_status(const struct beam_ctl_status *status); /* NULL: the daemon died */
void beam_requests_on_child(int died);
void beam_requests_on_ready(void);

#endif
