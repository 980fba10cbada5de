/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A small process that outlives the pull. When the pull dies without notice, the guard restores the
 * target's settings (reliability row 20). It keeps credentials in memory only.
 */
#ifndef BEAM_GUARD_H
#define BEAM_GUARD_H

#include "target.h"

struct beam_guard;

/* Forks the guard. Must be called before any thread is started and any connection opened. Returns 0
 * or -errno. */
int beam_guard_open(const struct beam_redis_addr *target, struct beam_guard **out);

/* The record shared with the guard. It starts zeroed: nothing to restore. */
struct beam_target_state *beam_guard_state(struct beam_guard *guard);

/* Tells the guard that there is nothing to restore (any more) and waits for it to exit. Accepts
 * NULL; clears the pointer. */
void beam_guard_close(struct beam_guard **guard);

#endif
