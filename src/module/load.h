/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Loading by module (docs/adr/0009): within an ordinary full resync, AUX records of our own type
 * stand where string keys would be; their values were made by threads from the pull's memory, and
 * the main thread inserts them. Main thread.
 */
#ifndef BEAM_LOAD_H
#define BEAM_LOAD_H

#include "redis_api.h"

/* At load of the module. Without the type (its name is taken) loads stay stock: logged, no error.
 * 0, -ENOMEM, -EINVAL. */
int beam_load_open(RedisModuleCtx *ctx);
void beam_load_close(void);

/* RDBEAM.LOAD: an offer for one load, or an error reply. */
int beam_load_command(RedisModuleCtx *ctx);

#endif
