/* SPDX-License-Identifier: BSD-3-Clause
 * Two queues, to the threads and back. */
#include "checker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "crc64.h"
#include "sockets.h"
#include "vouch.h"

/* A core checks some GB/s: a few are enough for any link. */
#define THREADS_MAX 4
#define LAST_BYTES  8u

struct job {
	struct job *next;
	struct beam_check check;
};

struct queue {
	struct job *head, **tail;
};

struct beam_checker {
	pthread_t threads[THREADS_MAX];
	uint32_t nthreads;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct queue todo, done;
	bool closing;
	int wake; /* eventfd: a check is done */
};

static void put(struct queue *queue, struct job *job)
{
	job->next = NULL;
	*queue->tail = job;
	queue->tail = &job->next;
}

static struct job *get(struct queue *queue)
{
	struct job *job = queue->head;

	if (!job)
		return NULL;
	queue->head = job->next;
	if (!queue->head)
		queue->tail = &queue->head;
	return job;
}

static void compute(struct beam_check *check)
{
	uint32_t tail = check->len_bytes < LAST_BYTES ? check->len_bytes : LAST_BYTES;
	uint32_t prefix = check->len_bytes - tail;

	check->prefix_crc = beam_crc64(0, check->buf, prefix);
	check->crc = beam_crc64(check->prefix_crc, check->buf + prefix, tail);
	if (check->digested && beam_vouch_digest(check->buf, check->len_bytes, check->digest))
		memset(check->digest, 0, sizeof(check->digest));
}

static void *work(void *arg)
{
	struct beam_checker *checker = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&checker->lock);
	while (!checker->closing) {
		struct job *job = get(&checker->todo);

		if (!job) {
			pthread_cond_wait(&checker->changed, &checker->lock);
			continue;
		}
		pthread_mutex_unlock(&checker->lock);
		compute(&job->check);
		pthread_mutex_lock(&checker->lock);
		put(&checker->done, job);
		/* Fails only when the counter is full: then it is readable anyhow. */
		if (write(checker->wake, &one, sizeof(one)) < 0)
			errno = 0;
	}
	pthread_mutex_unlock(&checker->lock);
	return NULL;
}

/* Signals are the program's, not these threads'. */
static int start_threads(struct beam_checker *checker)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t wanted = cpus < 2 ? 1 : cpus - 1 < THREADS_MAX ? (uint32_t)cpus - 1 : THREADS_MAX;
	sigset_t all, before;
	int err = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!err && checker->nthreads < wanted) {
		err = -pthread_create(&checker->threads[checker->nthreads], NULL, work, checker);
		checker->nthreads += !err;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return checker->nthreads ? 0 : err;
}

int beam_checker_open(struct beam_checker **out)
{
	struct beam_checker *checker = calloc(1, sizeof(*checker));

	if (!checker)
		return -ENOMEM;
	checker->todo.tail = &checker->todo.head;
	checker->done.tail = &checker->done.head;
	pthread_mutex_init(&checker->lock, NULL);
	pthread_cond_init(&checker->changed, NULL);
	checker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = checker->wake < 0 ? -errno : start_threads(checker);

	if (err) {
		beam_checker_close(&checker);
		return err;
	}
	*out = checker;
	return 0;
}

static void drop(struct queue *queue)
{
	struct job *job;

	while ((job = get(queue)))
		free(job);
}

void beam_checker_close(struct beam_checker **at)
{
	struct beam_checker *checker = *at;

	if (!checker)
		return;
	pthread_mutex_lock(&checker->lock);
	checker->closing = true;
	pthread_cond_broadcast(&checker->changed);
	pthread_mutex_unlock(&checker->lock);
	for (uint32_t i = 0; i < checker->nthreads; i++)
		pthread_join(checker->threads[i], NULL);
	drop(&checker->todo);
	drop(&checker->done);
	beam_close(&checker->wake);
	pthread_cond_destroy(&checker->changed);
	pthread_mutex_destroy(&checker->lock);
	free(checker);
	*at = NULL;
}

int beam_checker_give(struct beam_checker *checker, const struct beam_check *check)
{
	struct job *job = malloc(sizeof(*job));

	if (!job)
		return -ENOMEM;
	job->check = *check;
	pthread_mutex_lock(&checker->lock);
	put(&checker->todo, job);
	pthread_cond_signal(&checker->changed);
	pthread_mutex_unlock(&checker->lock);
	return 0;
}

bool beam_checker_take(struct beam_checker *checker, struct beam_check *out)
{
	uint64_t count;

	pthread_mutex_lock(&checker->lock);
	struct job *job = get(&checker->done);

	/* Cleared under the lock, so that the next one signals again. */
	if (!job && read(checker->wake, &count, sizeof(count)) < 0)
		errno = 0;
	pthread_mutex_unlock(&checker->lock);
	if (!job)
		return false;
	*out = job->check;
	free(job);
	return true;
}

int beam_checker_fd(const struct beam_checker *checker)
{
	return checker->wake;
}
