/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam.fork-thp: huge pages for the server's heap, so that a fork copies a five-hundredth of the
 * page table entries. Main thread only; a thread of its own does the work (collapser.h).
 */
#ifndef BEAM_FORK_THP_H
#define BEAM_FORK_THP_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

/* Applies beam_config.fork_thp, when the module is loaded and after each CONFIG SET. Switching it
 * on runs the self-test, which takes some milliseconds. If that fails, the reason is logged and the
 * heap is left alone. */
void beam_fork_thp_configure(void);
/* Called once, when the module is loaded. `ctx` must live as long as the module. */
void beam_fork_thp_open(RedisModuleCtx *ctx);
/* Stops the thread. Huge pages stay huge until they are split, but no new ones are made. */
void beam_fork_thp_close(void);

/* Called in the server's cron: logs refusals by the kernel, and pauses the work while a child
 * runs. */
void beam_fork_thp_on_cron(void);
/* Called when a child of the server was forked or has died: the thread rests while one lives. */
void beam_fork_thp_on_child(bool died);

/* For INFO: "off", "on", or "unavailable: " with the reason. */
const char *beam_fork_thp_state(void);
/* Bytes of the heap in huge pages, as far as known. */
uint64_t beam_fork_thp_bytes(void);

#endif
