/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the target shows to its primary-to-be: masterauth and masteruser.
 */
#ifndef BEAM_CREDENTIALS_H
#define BEAM_CREDENTIALS_H

#include "target.h"

/* Shows the target's own to `lead`, whom it follows in the end, if it has some and lets itself be asked. 0, or
 * BEAM_E_DENIED with its line where they are refused, which would come out only when all is loaded. */
int beam_credentials_try(const struct beam_redis_addr *lead, struct beam_redis *to, int timeout_ms,
			 char *error);

/* Gives the target the primary's credentials if it has none of its own, and `from` names some and wants them.
 * `untold`: it does not let itself be asked, and may have some. 0, or an error with its line: the
 * hand-over could not work. */
int beam_credentials_give(struct beam_redis *to, const struct beam_redis_addr *from, int timeout_ms,
			  struct beam_target_state *state, bool *untold, char *error);

#endif
