/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs server's thread for what takes long: registering and deregistering memory, taking queue
 * pairs down. Jobs run one after the other in the order they were given.
 */
#ifndef BEAM_VERBS_WORKER_H
#define BEAM_VERBS_WORKER_H

#include "jobs.h"
#include "loop.h"

struct verbs_worker;

struct verbs_job {
	struct beam_job job;                 /* first, and the worker's own */
	void (*work)(struct verbs_job *job); /* on the worker's thread */
	void (*done)(struct verbs_job *job); /* on the loop's, afterwards; the job is the owner's */
};

/* 0 or -errno. */
int verbs_worker_open(struct beam_loop *loop, struct verbs_worker **out);
/* Works off all jobs, calls every `done`, ends the thread. NULL-safe, clears the pointer. */
void verbs_worker_close(struct verbs_worker **worker);
void verbs_worker_give(struct verbs_worker *worker, struct verbs_job *job);

#endif
