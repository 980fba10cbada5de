/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam.auto-pull: a replica that is told whom to follow, by anybody or by its configuration file,
 * runs `rdbeam pull` for itself. The server's own sync starts at the same time, and continues
 * wherever the pull does not take over: the primary has no module, a partial resync is possible, or
 * the pull fails. Main thread.
 */
#ifndef BEAM_AUTO_PULL_H
#define BEAM_AUTO_PULL_H

#include "redis_api.h"

/* Called when the module is loaded. Returns 0, -ENOMEM or -EINVAL. */
int beam_auto_pull_open(RedisModuleCtx *ctx);
/* Cancels a pull that is running. Called when the module is unloaded. */
void beam_auto_pull_close(void);
/* Called in the server's cron: starts the pull of a `replicaof` in the configuration file, and
 * restores the server's own sync if a pull was killed. */
void beam_auto_pull_on_cron(void);

/* RDBEAM.FOLLOW host port [id] | NO ONE [id]: REPLICAOF for a pull, which must not start another
 * pull. With the id of an automatic pull, it is refused once that pull has been cancelled. */
int beam_auto_pull_follow(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

#endif
