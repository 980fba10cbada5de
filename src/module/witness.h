/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a snapshot leaves behind for those who were not there: one line in the server's log with all
 * its figures, and a sample of the event `rdbeam-copy` for the server's latency monitor. Main thread.
 */
#ifndef BEAM_WITNESS_H
#define BEAM_WITNESS_H

#include "ctl.h"
#include "redis_api.h"

/* 0 or -ENOMEM. */
int beam_witness_open(RedisModuleCtx *ctx);

/* Takes the daemon's status; each generation is told once, when it is ready. NULL: the daemon is
 * gone. */
void beam_witness_status(const struct beam_ctl_status *status);

#endif
