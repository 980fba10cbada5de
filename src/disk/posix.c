/* SPDX-License-Identifier: BSD-3-Clause
 * The engine for kernels and sandboxes without io_uring: one thread that calls pwrite and fsync in
 * the order in which operations were started. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "log.h"

struct beam_disk_engine_state {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work, done_one;
	struct beam_disk_fifo todo, done;
	bool busy; /* the thread works on an operation that is in neither list */
	bool stop;
	int event;
};

static int run(const struct beam_disk_op *op)
{
	ssize_t n;

	/* fsync is not repeated: the kernel reports a failure only once. */
	if (op->verb == BEAM_DISK_FSYNC)
		return fsync(op->fd) ? -errno : 0;
	do {
		n = pwrite(op->fd, op->buf, op->len_bytes, (off_t)op->offset);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static void *worker(void *arg)
{
	struct beam_disk_engine_state *engine = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&engine->lock);
	for (;;) {
		while (!engine->stop && !engine->todo.first)
			pthread_cond_wait(&engine->work, &engine->lock);
		if (engine->stop)
			break;
		struct beam_disk_op *op = beam_disk_pop(&engine->todo);

		engine->busy = true;
		pthread_mutex_unlock(&engine->lock);
		op->result = run(op);
		pthread_mutex_lock(&engine->lock);
		engine->busy = false;
		beam_disk_push(&engine->done, op);
		pthread_cond_signal(&engine->done_one);
		if (write(engine->event, &one, sizeof(one)) < 0 && errno != EAGAIN)
			beam_log(BEAM_LOG_WARNING, "flush: eventfd: %s", strerror(errno));
	}
	pthread_mutex_unlock(&engine->lock);
	return NULL;
}

static int posix_open(int event, uint32_t depth, struct beam_disk_engine_state **out)
{
	struct beam_disk_engine_state *engine = calloc(1, sizeof(*engine));
	sigset_t all, old;

	(void)depth; /* one at a time */
	if (!engine)
		return -ENOMEM;
	engine->event = event;
	pthread_mutex_init(&engine->lock, NULL);
	pthread_cond_init(&engine->work, NULL);
	pthread_cond_init(&engine->done_one, NULL);
	/* The thread blocks all signals, which belong to the loop. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = -pthread_create(&engine->thread, NULL, worker, engine);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		pthread_cond_destroy(&engine->done_one);
		pthread_cond_destroy(&engine->work);
		pthread_mutex_destroy(&engine->lock);
		free(engine);
		return err;
	}
	*out = engine;
	return 0;
}

static void posix_add_buffer(struct beam_disk_engine_state *engine, void *base, uint64_t len_bytes)
{
	(void)engine, (void)base, (void)len_bytes; /* pwrite needs no registration */
}

static void posix_start(struct beam_disk_engine_state *engine, struct beam_disk_op *op)
{
	pthread_mutex_lock(&engine->lock);
	beam_disk_push(&engine->todo, op);
	pthread_cond_signal(&engine->work);
	pthread_mutex_unlock(&engine->lock);
}

static int posix_submit(struct beam_disk_engine_state *engine)
{
	(void)engine;
	return 0;
}

static struct beam_disk_op *posix_next_done(struct beam_disk_engine_state *engine, bool wait)
{
	pthread_mutex_lock(&engine->lock);
	while (wait && !engine->done.first && (engine->busy || engine->todo.first))
		pthread_cond_wait(&engine->done_one, &engine->lock);
	struct beam_disk_op *op = beam_disk_pop(&engine->done);

	pthread_mutex_unlock(&engine->lock);
	return op;
}

static void posix_close(struct beam_disk_engine_state *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->stop = true;
	pthread_cond_signal(&engine->work);
	pthread_mutex_unlock(&engine->lock);
	pthread_join(engine->thread, NULL);
	pthread_cond_destroy(&engine->done_one);
	pthread_cond_destroy(&engine->work);
	pthread_mutex_destroy(&engine->lock);
	free(engine);
}

const struct beam_disk_engine_ops beam_disk_posix = {
    .name = "posix",
    .open = posix_open,
    .add_buffer = posix_add_buffer,
    .start = posix_start,
    .submit = posix_submit,
    .next_done = posix_next_done,
    .close = posix_close,
};
