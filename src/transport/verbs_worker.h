/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs server's thread for slow operations: registering and deregistering memory, tearing down
 * queue pairs. Jobs run one after the other, in the order in which they were given.
 */
#ifndef BEAM_VERBS_WORKER_H
#define BEAM_VERBS_WORKER_H

#include "jobs.h"
#include "loop.h"

struct verbs_worker;

struct verbs_job {
	struct beam_job job;                 /* must be first; used by the worker */
	void (*work)(struct verbs_job *job); /* on the worker's thread */
	/* On the loop's thread, afterwards; the job is the owner's again. */
	void (*done)(struct verbs_job *job);
};

/* Starts the thread. Returns 0 or -errno. */
int verbs_worker_open(struct beam_loop *loop, struct verbs_worker **out);
/* Finishes all jobs, calls every `done`, ends the thread. Accepts NULL; clears the pointer. */
void verbs_worker_close(struct verbs_worker **worker);
/* Queues a job, which must stay alive until its `done` is called. To be called on the loop's
 * thread. */
void verbs_worker_give(struct verbs_worker *worker, struct verbs_job *job);

#endif
