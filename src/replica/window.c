/* SPDX-License-Identifier: BSD-3-Clause
 * A ring of segment buffers indexed by segment number. */
#include "window.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "sockets.h"

#define SLOTS_MIN 2
#define SLOTS_MAX 1024

struct beam_window {
	uint64_t memory_bytes;
	int wake; /* eventfd: a slot became free */
	uint8_t *base;
	uint32_t segment_bytes;
	uint32_t nslots;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t *len_bytes; /* of each slot, 0: not there yet */
	uint32_t fed;        /* segments given back by the feed */
	uint32_t nsegments;  /* 0 until known */
	int code;
};

int beam_window_open(uint64_t memory_bytes, struct beam_window **out)
{
	struct beam_window *window = calloc(1, sizeof(*window));
	pthread_condattr_t attr;

	if (!window)
		return -ENOMEM;
	window->memory_bytes = memory_bytes;
	window->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (window->wake < 0) {
		int err = -errno;

		free(window);
		return err;
	}
	pthread_mutex_init(&window->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&window->changed, &attr);
	pthread_condattr_destroy(&attr);
	*out = window;
	return 0;
}

void beam_window_close(struct beam_window **window)
{
	struct beam_window *w = *window;

	if (!w)
		return;
	if (w->base)
		munmap(w->base, (size_t)w->nslots * w->segment_bytes);
	free(w->len_bytes);
	beam_close(&w->wake);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
	*window = NULL;
}

static int window_begin(void *ctx, uint32_t segment_bytes)
{
	struct beam_window *window = ctx;
	uint64_t nslots = window->memory_bytes / segment_bytes;

	if (nslots < SLOTS_MIN)
		nslots = SLOTS_MIN;
	if (nslots > SLOTS_MAX)
		nslots = SLOTS_MAX;
	void *base = mmap(NULL, nslots * segment_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	window->len_bytes = calloc(nslots, sizeof(*window->len_bytes));
	if (!window->len_bytes) {
		munmap(base, nslots * segment_bytes);
		return -ENOMEM;
	}
	window->base = base;
	window->segment_bytes = segment_bytes;
	window->nslots = (uint32_t)nslots;
	return 0;
}

static uint8_t *slot_at(const struct beam_window *window, uint32_t index)
{
	return window->base + (size_t)(index % window->nslots) * window->segment_bytes;
}

static int window_room(void *ctx, uint32_t index, uint8_t **buf)
{
	struct beam_window *window = ctx;
	uint64_t count;

	pthread_mutex_lock(&window->lock);
	bool room = index - window->fed < window->nslots;

	/* Cleared under the lock, so that the next release signals again. */
	if (!room && read(window->wake, &count, sizeof(count)) < 0)
		room = false;
	pthread_mutex_unlock(&window->lock);
	*buf = slot_at(window, index);
	return room ? 0 : -EAGAIN;
}

static int window_take(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes)
{
	struct beam_window *window = ctx;

	(void)buf;
	pthread_mutex_lock(&window->lock);
	window->len_bytes[index % window->nslots] = len_bytes;
	pthread_cond_signal(&window->changed);
	pthread_mutex_unlock(&window->lock);
	return 0;
}

static void window_back(void *ctx, uint32_t index, uint8_t *buf)
{
	(void)ctx, (void)index, (void)buf; /* the slot is the index's own */
}

void beam_window_sink(struct beam_window *window, struct beam_segment_sink *out)
{
	*out = (struct beam_segment_sink){.ctx = window,
					  .begin = window_begin,
					  .room = window_room,
					  .take = window_take,
					  .back = window_back,
					  .wake_fd = window->wake};
}

static void deadline_in(struct timespec *at, int timeout_ms)
{
	clock_gettime(CLOCK_MONOTONIC, at);
	at->tv_sec += timeout_ms / 1000;
	at->tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (at->tv_nsec >= 1000000000) {
		at->tv_sec++;
		at->tv_nsec -= 1000000000;
	}
}

static int window_next(void *ctx, const uint8_t **base, uint32_t *len_bytes, int timeout_ms)
{
	struct beam_window *window = ctx;
	struct timespec deadline;
	int rc = 0;

	deadline_in(&deadline, timeout_ms);
	pthread_mutex_lock(&window->lock);
	for (;;) {
		uint32_t len = window->nslots ? window->len_bytes[window->fed % window->nslots] : 0;

		if (window->code) {
			rc = window->code;
		} else if (window->nsegments && window->fed == window->nsegments) {
			rc = 0;
		} else if (len) {
			*base = slot_at(window, window->fed);
			*len_bytes = len;
			rc = 1;
		} else {
			int err =
			    pthread_cond_timedwait(&window->changed, &window->lock, &deadline);

			if (err != ETIMEDOUT)
				continue;
			rc = -ETIMEDOUT;
		}
		break;
	}
	pthread_mutex_unlock(&window->lock);
	return rc;
}

static void window_release(void *ctx)
{
	struct beam_window *window = ctx;
	uint64_t one = 1;

	pthread_mutex_lock(&window->lock);
	window->len_bytes[window->fed % window->nslots] = 0;
	window->fed++;
	/* Fails only when the counter is full: then it is readable anyhow. */
	if (write(window->wake, &one, sizeof(one)) < 0)
		errno = 0;
	pthread_mutex_unlock(&window->lock);
}

void beam_window_source(struct beam_window *window, struct beam_image_source *out)
{
	*out = (struct beam_image_source){
	    .ctx = window, .next = window_next, .release = window_release};
}

bool beam_window_ready(struct beam_window *window)
{
	pthread_mutex_lock(&window->lock);
	bool ready = window->fed || (window->nslots && window->len_bytes[0]);

	pthread_mutex_unlock(&window->lock);
	return ready;
}

void beam_window_finish(struct beam_window *window, uint32_t nsegments)
{
	pthread_mutex_lock(&window->lock);
	window->nsegments = nsegments;
	pthread_cond_signal(&window->changed);
	pthread_mutex_unlock(&window->lock);
}

void beam_window_abort(struct beam_window *window, int code)
{
	pthread_mutex_lock(&window->lock);
	if (!window->code)
		window->code = code;
	pthread_cond_signal(&window->changed);
	pthread_mutex_unlock(&window->lock);
}
