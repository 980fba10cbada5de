/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Work for threads beside the one that gives it: jobs wait in order, any thread takes the next, and
 * what is done comes back by a second queue with a descriptor to poll. All functions are for the
 * one thread that gives.
 */
#ifndef BEAM_JOBS_H
#define BEAM_JOBS_H

#include <stdint.h>

struct beam_jobs;

/* Embedded by whoever has something to do. From give to done it belongs to the threads. */
struct beam_job {
	struct beam_job *next;
	void (*work)(struct beam_job *job); /* on one of the threads */
};

/* Starts 1 to `nthreads` threads, as many as the system grants, which take no signals. 0 or -errno
 * when it is none. */
int beam_jobs_open(uint32_t nthreads, struct beam_jobs **out);
/* Ends the threads when what they work on is done. What was not begun is put with what is done, so
 * that beam_jobs_done returns all that was given. */
void beam_jobs_stop(struct beam_jobs *jobs);
/* The same after all that was given has been worked off. */
void beam_jobs_finish(struct beam_jobs *jobs);
/* Stopped or finished, and everything taken back. NULL-safe, clears the pointer. */
void beam_jobs_close(struct beam_jobs **jobs);

void beam_jobs_give(struct beam_jobs *jobs, struct beam_job *job);
/* The next that is done, in the order in which they were; NULL: none is now. */
struct beam_job *beam_jobs_done(struct beam_jobs *jobs);
/* Readable when there may be one. */
int beam_jobs_fd(const struct beam_jobs *jobs);

#endif
