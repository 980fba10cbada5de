/* SPDX-License-Identifier: BSD-3-Clause
 *
 * RDBEAM.TICKET and RDBEAM.SNAPSHOT: clients that wait for a generation. A retained image that the
 * backlog still reaches is handed out at once; otherwise a snapshot in memory is made by a module
 * fork, as soon as no other child of the server is in the way. Where relays hold the image, tickets are
 * theirs, so that the daemon sends it rdbeam.fanout times at most. Main thread.
 */
#ifndef BEAM_REQUESTS_H
#define BEAM_REQUESTS_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"
#include "relays.h"

/* 0 or -ENOMEM. At load. */
int beam_requests_open(RedisModuleCtx *ctx);

struct beam_ticket_ask {
	bool fresh;
	bool relayed;        /* one for a relay will do */
	struct beam_gen gen; /* this image and no other; counter 0: any */
	struct beam_relay_avoid avoid;
};

int beam_requests_ticket(RedisModuleCtx *ctx, const struct beam_ticket_ask *ask);
/* wait_ms 0: answers as soon as the snapshot has begun. */
int beam_requests_snapshot(RedisModuleCtx *ctx, long long wait_ms);

/* Answers with the newest generation as soon as that is not `known`; wait_ms 0: for ever. */
int beam_requests_news(RedisModuleCtx *ctx, const struct beam_gen *known, long long wait_ms);
/* Where the client comes from: an address, 127.0.0.1 for a unix socket, "" if unknown. */
void beam_requests_client_address(RedisModuleCtx *ctx, char out[BEAM_ADDR_BYTES]);

/* Events of the link and of the server's children. */
void beam_requests_on_opened(const struct beam_ctl_opened *opened);
void beam_requests_on_status(const struct beam_ctl_status *status); /* NULL: the daemon died */
void beam_requests_on_child(int died);
void beam_requests_on_ready(void);

#endif
