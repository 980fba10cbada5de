/* SPDX-License-Identifier: BSD-3-Clause
 * Catches the server's forks: the child of a BGSAVE becomes ours, and the parent marks the cut in
 * the replication stream. */
#ifndef BEAM_HOOK_H
#define BEAM_HOOK_H

#include <stdbool.h>

#include "redis_api.h"

/* Called in the main thread when any child of the server was forked (0) or has died (1). */
typedef void beam_hook_child_fn(int died);

/* Subscribes to the server's events when the module is loaded. Returns 0 or -EINVAL. */
int beam_hook_open(RedisModuleCtx *ctx, beam_hook_child_fn *on_child);

/* Tells the hook that the module itself is about to fork (1) for a snapshot in memory, or has done
 * so (0): the cut of such a fork is marked as in a BGSAVE. */
void beam_hook_own_fork(int yes);
/* True while the child of such a fork lives: the server calls the module when it ends. */
bool beam_hook_has_own_child(void);
/* Called in that child before it reads keys: tells other modules that a save begins, as the server
 * does in a BGSAVE's child. */
void beam_hook_tell_others(void);

#endif
