/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pool of worker threads. Jobs are queued in order, and any thread takes the next one. Finished
 * jobs come back through a second queue, which has a descriptor to poll. All functions are for the
 * single thread that owns the pool.
 */
#ifndef BEAM_JOBS_H
#define BEAM_JOBS_H

#include <stdint.h>

struct beam_jobs;

/* Embedded in the owner's own struct. From beam_jobs_give to beam_jobs_done it belongs to the
 * threads. */
struct beam_job {
	struct beam_job *next;
	void (*work)(struct beam_job *job); /* called on one of the threads */
};

/* Starts 1 to `nthreads` threads, as many as the system allows; they block all signals. 0, or
 * -errno if none could be started. */
int beam_jobs_open(uint32_t nthreads, struct beam_jobs **out);
/* Ends the threads once they have finished their current jobs. Jobs that were not begun are added
 * to the finished ones, so that beam_jobs_done returns all jobs. */
void beam_jobs_stop(struct beam_jobs *jobs);
/* The same, after all queued jobs have been run. */
void beam_jobs_finish(struct beam_jobs *jobs);
/* Frees the pool. It must have been stopped or finished, and all jobs taken back. Accepts NULL,
 * clears the pointer. */
void beam_jobs_close(struct beam_jobs **jobs);

/* Queues a job. */
void beam_jobs_give(struct beam_jobs *jobs, struct beam_job *job);
/* Returns the next finished job, in the order of finishing; NULL if there is none now. */
struct beam_job *beam_jobs_done(struct beam_jobs *jobs);
/* Becomes readable when there may be a finished job. */
int beam_jobs_fd(const struct beam_jobs *jobs);

#endif
