/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam.auto-pull: a replica that was told whom to follow, by anybody or by its configuration file,
 * runs `rdbeam pull` for itself. The server's own sync begins at the same time, and goes on wherever
 * the pull does not take over: no module there, a partial resync is possible, the pull fails. Main
 * thread.
 */
#ifndef BEAM_AUTO_PULL_H
#define BEAM_AUTO_PULL_H

#include "redis_api.h"

/* At load of the module. 0, -ENOMEM, -EINVAL. */
int beam_auto_pull_open(RedisModuleCtx *ctx);
void beam_auto_pull_close(void);
/* In the server's cron. */
void beam_auto_pull_on_cron(void);

/* RDBEAM.FOLLOW host port [id] | NO ONE [id]: a pull's REPLICAOF, which must not start another pull.
 * With the id of an automatic pull it is refused when that one was called off. */
int beam_auto_pull_follow(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

#endif
