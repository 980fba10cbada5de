/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Records each snapshot for later: one line with all its figures in the server's log, and a sample
 * of the event `rdbeam-copy` for the server's latency monitor. Main thread.
 */
#ifndef BEAM_WITNESS_H
#define BEAM_WITNESS_H

#include "ctl.h"
#include "redis_api.h"

/* Called when the module is loaded. Returns 0 or -ENOMEM. */
int beam_witness_open(RedisModuleCtx *ctx);
/* Called when it is unloaded, or could not be loaded. */
void beam_witness_close(void);

/* Takes the daemon's status, and records each generation once, when it is ready. NULL (the daemon
 * is gone) is ignored. */
void beam_witness_status(const struct beam_ctl_status *status);

#endif
