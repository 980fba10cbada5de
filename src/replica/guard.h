/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A small process that outlives the pull: when the pull dies without a word, it puts the target
 * back (reliability row 20). Credentials are only in its memory.
 */
#ifndef BEAM_GUARD_H
#define BEAM_GUARD_H

#include "target.h"

struct beam_guard;

/* Forks it; before any thread is started and any connection opened. 0 or -errno. */
int beam_guard_open(const struct beam_redis_addr *target, struct beam_guard **out);

/* The record shared with the guard, zeroed: nothing to put back. */
struct beam_target_state *beam_guard_state(struct beam_guard *guard);

/* Tells it that all is well (or was put back already) and waits for its end. NULL-safe, clears the
 * pointer. */
void beam_guard_close(struct beam_guard **guard);

#endif
