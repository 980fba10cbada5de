/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread that puts the heap's small pages together to huge ones. It makes system calls and touches
 * atomics and memory of its own, nothing else of the server: it holds no lock that a forked child
 * could find held, and a child has no such thread. All functions are for the main thread.
 */
#ifndef BEAM_COLLAPSER_H
#define BEAM_COLLAPSER_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct beam_collapser;

/* Starts the thread, on `cpus` if not NULL. 0 or -errno. */
int beam_collapser_open(const cpu_set_t *cpus, bool rests, struct beam_collapser **out);
/* Ends it; takes as long as the huge page that it is at, some milliseconds. NULL-safe, clears the
 * pointer. */
void beam_collapser_close(struct beam_collapser **collapser);

/* While a child lives it rests: memory that is shared would have to be copied. Does not wait. */
void beam_collapser_rest(struct beam_collapser *collapser, bool rests);

/* Bytes of the heap that are in huge pages, as far as it knows. */
uint64_t beam_collapser_bytes(const struct beam_collapser *collapser);
/* The last errno, but EAGAIN, with which the kernel did not do it; 0: none. */
int beam_collapser_refused(const struct beam_collapser *collapser);

#endif
