/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decides who may run the module's commands on servers where ACL categories cannot say it. Main
 * thread.
 */
#ifndef BEAM_ACCESS_H
#define BEAM_ACCESS_H

#include <stdbool.h>

#include "redis_api.h"

/* Redis 7.0 puts no module command into a category, so "+@all -@dangerous" would leave ours to a
 * user who may not even run SYNC. There, the caller must also be allowed to run `command`, the
 * server's own command of equal power. Returns false after replying with an error that says what to
 * grant. */
bool beam_access_granted(RedisModuleCtx *ctx, const char *command);

#endif
