/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs jobs on a pool of one thread (jobs.h) and calls `done` from the event loop.
 */
#include "verbs_worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct verbs_worker {
	struct beam_jobs *jobs;
	struct beam_watch *watch;
};

static void work(struct beam_job *job)
{
	struct verbs_job *mine = (struct verbs_job *)job;

	mine->work(mine);
}

static void run_done(struct verbs_worker *worker)
{
	struct verbs_job *job;

	while ((job = (struct verbs_job *)beam_jobs_done(worker->jobs)))
		job->done(job);
}

static void on_wake(int fd, uint32_t events, void *arg)
{
	(void)fd;
	(void)events;
	run_done(arg);
}

int verbs_worker_open(struct beam_loop *loop, struct verbs_worker **out)
{
	struct verbs_worker *worker = calloc(1, sizeof(*worker));
	int err = worker ? beam_jobs_open(1, &worker->jobs) : -ENOMEM;

	if (err)
		goto free_worker;
	err = beam_watch_add(loop, beam_jobs_fd(worker->jobs), EPOLLIN, on_wake, worker,
			     &worker->watch);
	if (err)
		goto close_jobs;
	*out = worker;
	return 0;

close_jobs:
	beam_jobs_stop(worker->jobs);
	beam_jobs_close(&worker->jobs);
free_worker:
	free(worker);
	return err;
}

void verbs_worker_close(struct verbs_worker **at)
{
	struct verbs_worker *worker = *at;

	if (!worker)
		return;
	beam_jobs_finish(worker->jobs);
	run_done(worker);
	beam_watch_remove(&worker->watch);
	beam_jobs_close(&worker->jobs);
	free(worker);
	*at = NULL;
}

void verbs_worker_give(struct verbs_worker *worker, struct verbs_job *job)
{
	job->job.work = work;
	beam_jobs_give(worker->jobs, &job->job);
}
