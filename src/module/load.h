/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Loading by module (docs/adr/0009): in an otherwise ordinary full resync, AUX records of our own
 * type take the place of string keys. Threads create the values from the pull's shared memory, and
 * the main thread inserts them. Main thread only.
 */
#ifndef BEAM_LOAD_H
#define BEAM_LOAD_H

#include "redis_api.h"

/* Called when the module is loaded. If the type cannot be created (its name is taken), this is
 * logged and is no error: loads stay stock. Returns 0, -ENOMEM or -EINVAL. */
int beam_load_open(RedisModuleCtx *ctx);
/* Closes the link and voids an offer. Called when the module is unloaded. */
void beam_load_close(void);

/* RDBEAM.LOAD: replies with an offer for one load (version, socket, secret, nonce), or with an
 * error. */
int beam_load_command(RedisModuleCtx *ctx);

#endif
