/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam.fork-thp: huge pages for the server's heap, so that a fork has a five-hundredth of the page
 * table entries to copy. Main thread only; the work is done by a thread of its own (collapser.h).
 */
#ifndef BEAM_FORK_THP_H
#define BEAM_FORK_THP_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

/* Follows beam_config.fork_thp: at load and after each CONFIG SET. Switching on runs the self-test
 * (some milliseconds); where it fails, the log says why and the heap is left alone. */
void beam_fork_thp_configure(void);
/* `ctx` must live as long as the module. */
void beam_fork_thp_open(RedisModuleCtx *ctx);
/* Stops, and leaves the heap as it would be without. */
void beam_fork_thp_close(void);

/* In the server's cron. */
void beam_fork_thp_on_cron(void);
/* A child of the server was born, or has died. */
void beam_fork_thp_on_child(bool died);

/* For INFO: "off", "on", or "unavailable: " and why. */
const char *beam_fork_thp_state(void);
/* Bytes of the heap that are in huge pages, as far as is known. */
uint64_t beam_fork_thp_bytes(void);

#endif
