/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The credentials (masterauth and masteruser) with which the target authenticates to the primary
 * that it will follow.
 */
#ifndef BEAM_CREDENTIALS_H
#define BEAM_CREDENTIALS_H

#include "target.h"

/* Tries the target's own credentials on `lead`, the primary that it follows in the end, if the
 * target has some and lets us read them. Done early, because otherwise a refusal would show only
 * after the whole image is loaded. Returns 0, or BEAM_E_DENIED with its line in `error` when they
 * are refused. Other failures to try them count as 0. */
int beam_credentials_try(const struct beam_redis_addr *lead, struct beam_redis *to, int timeout_ms,
			 char *error);

/* Sets the target's masterauth and masteruser to the credentials in `from`, if the target has none
 * of its own and the primary requires them. What is set is recorded in `state` first. `*untold` is
 * set when the target does not let us read its setting, so that it may or may not have one. Returns
 * 0, or an error with its line in `error`: the hand-over could not work. */
int beam_credentials_give(struct beam_redis *to, const struct beam_redis_addr *from, int timeout_ms,
			  struct beam_target_state *state, bool *untold, char *error);

#endif
