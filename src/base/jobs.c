/* SPDX-License-Identifier: BSD-3-Clause */
#include "jobs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sockets.h"

struct queue {
	struct beam_job *head, **tail;
};

struct beam_jobs {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct queue todo, done;
	enum { RUN, FINISH, STOP } order;
	int wake; /* eventfd: a job is done */
	uint32_t nthreads;
	pthread_t threads[];
};

static void put(struct queue *queue, struct beam_job *job)
{
	job->next = NULL;
	*queue->tail = job;
	queue->tail = &job->next;
}

static struct beam_job *get(struct queue *queue)
{
	struct beam_job *job = queue->head;

	if (!job)
		return NULL;
	queue->head = job->next;
	if (!queue->head)
		queue->tail = &queue->head;
	return job;
}

/* Returns the next job, or NULL if the thread is to end. Called with the lock held. */
static struct beam_job *next_job(struct beam_jobs *jobs)
{
	for (;;) {
		struct beam_job *job = jobs->order == STOP ? NULL : get(&jobs->todo);

		if (job || jobs->order != RUN)
			return job;
		pthread_cond_wait(&jobs->changed, &jobs->lock);
	}
}

static void *run(void *arg)
{
	struct beam_jobs *jobs = arg;
	struct beam_job *job;
	uint64_t one = 1;

	pthread_mutex_lock(&jobs->lock);
	while ((job = next_job(jobs))) {
		pthread_mutex_unlock(&jobs->lock);
		job->work(job);
		pthread_mutex_lock(&jobs->lock);
		put(&jobs->done, job);
		/* Fails only if the counter is full; then the fd is readable anyway. */
		if (write(jobs->wake, &one, sizeof(one)) < 0)
			errno = 0;
	}
	pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

/* The threads block all signals, which belong to the program. */
static int start(struct beam_jobs *jobs, uint32_t nthreads)
{
	sigset_t all, before;
	int err = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!err && jobs->nthreads < nthreads) {
		err = -pthread_create(&jobs->threads[jobs->nthreads], NULL, run, jobs);
		jobs->nthreads += !err;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return jobs->nthreads ? 0 : err;
}

int beam_jobs_open(uint32_t nthreads, struct beam_jobs **out)
{
	struct beam_jobs *jobs = calloc(1, sizeof(*jobs) + nthreads * sizeof(jobs->threads[0]));

	if (!jobs)
		return -ENOMEM;
	jobs->todo.tail = &jobs->todo.head;
	jobs->done.tail = &jobs->done.head;
	pthread_mutex_init(&jobs->lock, NULL);
	pthread_cond_init(&jobs->changed, NULL);
	jobs->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = jobs->wake < 0 ? -errno : start(jobs, nthreads);

	if (err) {
		beam_jobs_close(&jobs);
		return err;
	}
	*out = jobs;
	return 0;
}

static void end(struct beam_jobs *jobs, int order)
{
	struct beam_job *job;

	pthread_mutex_lock(&jobs->lock);
	jobs->order = order;
	pthread_cond_broadcast(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
	while (jobs->nthreads)
		pthread_join(jobs->threads[--jobs->nthreads], NULL);
	while ((job = get(&jobs->todo)))
		put(&jobs->done, job);
}

void beam_jobs_stop(struct beam_jobs *jobs)
{
	end(jobs, STOP);
}

void beam_jobs_finish(struct beam_jobs *jobs)
{
	end(jobs, FINISH);
}

void beam_jobs_close(struct beam_jobs **at)
{
	struct beam_jobs *jobs = *at;

	if (!jobs)
		return;
	beam_close(&jobs->wake);
	pthread_cond_destroy(&jobs->changed);
	pthread_mutex_destroy(&jobs->lock);
	free(jobs);
	*at = NULL;
}

void beam_jobs_give(struct beam_jobs *jobs, struct beam_job *job)
{
	pthread_mutex_lock(&jobs->lock);
	put(&jobs->todo, job);
	pthread_cond_signal(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
}

struct beam_job *beam_jobs_done(struct beam_jobs *jobs)
{
	uint64_t count;

	pthread_mutex_lock(&jobs->lock);
	struct beam_job *job = get(&jobs->done);

	/* Cleared under the lock, so that the next job to finish signals again. */
	if (!job && read(jobs->wake, &count, sizeof(count)) < 0)
		errno = 0;
	pthread_mutex_unlock(&jobs->lock);
	return job;
}

int beam_jobs_fd(const struct beam_jobs *jobs)
{
	return jobs->wake;
}
