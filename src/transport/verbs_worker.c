/* SPDX-License-Identifier: BSD-3-Clause */
#include "verbs_worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sockets.h"

struct queue {
	struct verbs_job *head, **tail;
};

struct verbs_worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct queue todo, done;
	bool closing;
	int wake; /* eventfd: a job is done */
	struct beam_watch *watch;
};

static void put(struct queue *queue, struct verbs_job *job)
{
	job->next = NULL;
	*queue->tail = job;
	queue->tail = &job->next;
}

static struct verbs_job *take(struct queue *queue)
{
	struct verbs_job *job = queue->head;

	if (!job)
		return NULL;
	queue->head = job->next;
	if (!queue->head)
		queue->tail = &queue->head;
	return job;
}

static void *work(void *arg)
{
	struct verbs_worker *worker = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&worker->lock);
	for (;;) {
		struct verbs_job *job = take(&worker->todo);

		if (!job && worker->closing)
			break;
		if (!job) {
			pthread_cond_wait(&worker->changed, &worker->lock);
			continue;
		}
		pthread_mutex_unlock(&worker->lock);
		job->work(job);
		pthread_mutex_lock(&worker->lock);
		put(&worker->done, job);
		/* Fails only when the counter is full: then it is readable anyhow. */
		if (write(worker->wake, &one, sizeof(one)) < 0)
			errno = 0;
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

static void run_done(struct verbs_worker *worker)
{
	for (;;) {
		pthread_mutex_lock(&worker->lock);
		struct verbs_job *job = take(&worker->done);

		pthread_mutex_unlock(&worker->lock);
		if (!job)
			return;
		job->done(job);
	}
}

static void on_wake(int fd, uint32_t events, void *arg)
{
	uint64_t count;

	(void)events;
	if (read(fd, &count, sizeof(count)) > 0)
		run_done(arg);
}

/* The daemon's signals are its loop's. */
static int start_thread(struct verbs_worker *worker)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = -pthread_create(&worker->thread, NULL, work, worker);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

int verbs_worker_open(struct beam_loop *loop, struct verbs_worker **out)
{
	struct verbs_worker *worker = calloc(1, sizeof(*worker));
	int err;

	if (!worker)
		return -ENOMEM;
	worker->todo.tail = &worker->todo.head;
	worker->done.tail = &worker->done.head;
	worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->wake < 0) {
		err = -errno;
		goto free_worker;
	}
	err = beam_watch_add(loop, worker->wake, EPOLLIN, on_wake, worker, &worker->watch);
	if (err)
		goto close_wake;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->changed, NULL);
	err = start_thread(worker);
	if (err)
		goto remove_watch;
	*out = worker;
	return 0;

remove_watch:
	beam_watch_remove(&worker->watch);
close_wake:
	beam_close(&worker->wake);
free_worker:
	free(worker);
	return err;
}

void verbs_worker_close(struct verbs_worker **at)
{
	struct verbs_worker *worker = *at;

	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->closing = true;
	pthread_cond_signal(&worker->changed);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	run_done(worker);
	beam_watch_remove(&worker->watch);
	beam_close(&worker->wake);
	pthread_cond_destroy(&worker->changed);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
	*at = NULL;
}

void verbs_worker_give(struct verbs_worker *worker, struct verbs_job *job)
{
	pthread_mutex_lock(&worker->lock);
	put(&worker->todo, job);
	pthread_cond_signal(&worker->changed);
	pthread_mutex_unlock(&worker->lock);
}
