/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether processes here survive a change of their priority or CPU affinity. A system call filter
 * (seccomp) may refuse such calls, which does no harm, or kill the process that makes them.
 */
#ifndef BEAM_SCHEDULE_H
#define BEAM_SCHEDULE_H

/* Finds out by trying. If there is a filter, the calls are made in a forked process, which this
 * function waits for: a fraction of a millisecond for a small program. The answer also applies to
 * all processes that this one starts. 1 or 0; -errno: no process could be forked, so nothing is
 * known. */
int beam_may_schedule(void);

/* The same for any calls: 1 if a process that makes them survives, or if there is no filter.
 * `calls` runs in a forked process, without the other threads. */
int beam_may_call(void (*calls)(void));

#endif
