/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether a process here lives on when it changes its priority or its processors. A filter of system calls
 * (seccomp) may refuse these, which does no harm, or end whoever makes them.
 */
#ifndef BEAM_SCHEDULE_H
#define BEAM_SCHEDULE_H

/* Tries it: where there is a filter by a process of its own, which it forks and waits for, a fraction of a
 * millisecond for a small program. The answer holds for all that this process starts, too. 1 or 0; -errno: no
 * process could be had, so nothing is known. */
int beam_may_schedule(void);

/* The same for any calls: 1 if a process that makes them lives on, or there is no filter. They are made in a
 * forked process, where there may be no other thread. */
int beam_may_call(void (*calls)(void));

#endif
