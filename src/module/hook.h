/* SPDX-License-Identifier: BSD-3-Clause
 * Where the server's forks are met: BGSAVE's child becomes ours, and the parent marks the cut in
 * the replication stream. */
#ifndef BEAM_HOOK_H
#define BEAM_HOOK_H

#include <stdbool.h>

#include "redis_api.h"

/* Called in the main thread when a fork child of the server's (any) was born or has died. */
typedef void beam_hook_child_fn(int died);

/* Subscribes to the events. 0 or -EINVAL. At load. */
int beam_hook_open(RedisModuleCtx *ctx, beam_hook_child_fn *on_child);

/* The module forks for a snapshot in memory: the next fork is marked like a BGSAVE. */
void beam_hook_own_fork(int yes);
/* Whether a child of such a fork lives: the server calls the module when it ends. */
bool beam_hook_has_own_child(void);
/* In that child, before it reads: tells other modules that a save begins, as the server does in BGSAVE's. */
void beam_hook_tell_others(void);

#endif
