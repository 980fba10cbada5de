/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The start of rdbeamd. Server's thread only.
 */
#ifndef BEAM_START_H
#define BEAM_START_H

#include <stdbool.h>
#include <stddef.h>

/* Runs rdbeamd with its end of the control socket and with the listener that children connect to;
 * the caller keeps its own. *may_schedule: processes may change their priority and CPU affinity
 * here. Returns 0, or -errno with the reason and the remedy in `error` (`cap` bytes). */
int beam_start_daemon(int control, int listener, bool *may_schedule, char *error, size_t cap);

#endif
