/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread that collapses the heap's small pages into huge pages. It only makes system calls and
 * touches atomics and its own memory, so it holds no lock that a forked child could inherit locked;
 * the child does not have this thread. All functions: main thread.
 */
#ifndef BEAM_COLLAPSER_H
#define BEAM_COLLAPSER_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct beam_collapser;

/* Starts the thread, on `cpus` if that is not NULL, resting if `rests`. Returns 0 and *out, or
 * -errno. */
int beam_collapser_open(const cpu_set_t *cpus, bool rests, struct beam_collapser **out);
/* Ends and joins the thread. Waits until the current huge page is done, some milliseconds.
 * *collapser may be NULL and is cleared. */
void beam_collapser_close(struct beam_collapser **collapser);

/* Pauses (true) or resumes (false) the work; does not wait. It must rest while a child lives,
 * because shared pages would have to be copied. */
void beam_collapser_rest(struct beam_collapser *collapser, bool rests);

/* Bytes of the heap in huge pages, as far as the thread knows. */
uint64_t beam_collapser_bytes(const struct beam_collapser *collapser);
/* The errno of the last refusal by the kernel, other than EAGAIN; 0 if there was none. */
int beam_collapser_refused(const struct beam_collapser *collapser);

#endif
