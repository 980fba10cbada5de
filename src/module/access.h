/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who may run the module's commands, where the server's ACL categories do not say it. Main thread.
 */
#ifndef BEAM_ACCESS_H
#define BEAM_ACCESS_H

#include <stdbool.h>

#include "redis_api.h"

/* Redis 7.0 puts no command of a module into a category, so that "+@all -@dangerous" leaves them to a user
 * who may not even run SYNC. There the caller must also be allowed `command`, the server's own of the same
 * power. False: it was refused, with an error that says what to grant. */
bool beam_access_granted(RedisModuleCtx *ctx, const char *command);

#endif
