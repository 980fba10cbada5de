/* SPDX-License-Identifier: BSD-3-Clause
 *
 * RDBEAM.TICKET and RDBEAM.SNAPSHOT: clients that wait for a generation. A retained image that the
 * backlog still reaches is handed out at once; otherwise a snapshot in memory is made by a module
 * fork, as soon as no other child of the server is in the way. Main thread.
 */
#ifndef BEAM_REQUESTS_H
#define BEAM_REQUESTS_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"

/* 0 or -ENOMEM. At load. */
int beam_requests_open(RedisModuleCtx *ctx);

int beam_requests_ticket(RedisModuleCtx *ctx, bool fresh);
/* wait_ms 0: answers as soon as the snapshot has begun. */
int beam_requests_snapshot(RedisModuleCtx *ctx, long long wait_ms);

/* Events of the link and of the server's children. */
void beam_requests_on_opened(const struct beam_ctl_opened *opened);
void beam_requests_on_status(const struct beam_ctl_status *status); /* NULL: the daemon died */
void beam_requests_on_child(int died);

#endif
