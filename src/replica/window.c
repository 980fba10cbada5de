/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A ring of segment buffers, indexed by segment number modulo the number of slots.
 */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "pages.h"
#include "sockets.h"
#include "trim.h"

#define SLOTS_MIN 2
#define SLOTS_MAX 1024
/* More memory would not make a target any faster, and touching new pages costs more than everything
 * else that is done with their bytes. A shared window must hold the largest chunk that a module is
 * meant to decode, and the chunks that its threads work on. */
#define PRIVATE_MAX  (16ull << 20)
#define SHARED_MAX   (64ull << 20)
#define SLOTS_ENOUGH 4 /* whatever the segment size */

struct beam_window {
	uint64_t memory_bytes;
	bool shared;
	int fd;   /* memfd of the buffers, -1 unless shared */
	int wake; /* eventfd: a slot became free */
	uint8_t *base;
	uint32_t segment_bytes;
	uint32_t nslots;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t *len_bytes; /* of each slot; 0: still empty */
	uint64_t *crc;       /* of each slot */
	struct beam_gen gen;
	struct beam_trim trim;
	bool whole;         /* filler is sent, too */
	uint32_t given;     /* all segments for which room was asked are below it */
	uint32_t fed;       /* segments released by the feed */
	uint32_t nsegments; /* 0 until known */
	int code;
};

int beam_window_open(uint64_t memory_bytes, bool shared, const struct beam_gen *gen,
		     struct beam_window **out)
{
	struct beam_window *window = calloc(1, sizeof(*window));

	if (!window)
		return -ENOMEM;
	window->memory_bytes = memory_bytes;
	window->shared = shared;
	window->gen = *gen;
	window->fd = -1;
	window->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (window->wake < 0) {
		int err = -errno;

		free(window);
		return err;
	}
	pthread_mutex_init(&window->lock, NULL);
	beam_cond_init(&window->changed);
	*out = window;
	return 0;
}

static void unmap_slots(const struct beam_window *window, void *base, size_t bytes)
{
	if (window->shared)
		beam_ring_unmap(base, bytes);
	else
		beam_pages_unmap(base, bytes);
}

void beam_window_close(struct beam_window **window)
{
	struct beam_window *w = *window;

	if (!w)
		return;
	unmap_slots(w, w->base, (size_t)w->nslots * w->segment_bytes);
	free(w->len_bytes);
	free(w->crc);
	beam_close(&w->fd);
	beam_close(&w->wake);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
	*window = NULL;
}

/* A memfd that nobody can shrink, so that the process it is shared with cannot get SIGBUS from
 * it. */
static int open_memfd(uint64_t bytes)
{
	int fd = memfd_create("rdbeam-window", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

/* A small image fills a part of it only, so huge pages would have the kernel clear megabytes for a
 * few kilobytes. And free huge pages are what a guest gives back to its host: the first touch of each
 * waits for the host. */
static void *map_private(uint64_t bytes)
{
	void *base = beam_pages_map(bytes);

	if (base) /* refused for memory of the hugetlb pool, which stays as it is */
		madvise(base, bytes, MADV_NOHUGEPAGE);
	return base;
}

static int map_slots(struct beam_window *window, uint64_t nslots, uint32_t segment_bytes,
		     void **base)
{
	uint64_t bytes = nslots * segment_bytes;

	if (!window->shared) {
		*base = map_private(bytes);
		return *base ? 0 : -ENOMEM;
	}
	window->fd = open_memfd(bytes);
	if (window->fd < 0)
		return window->fd;
	*base = beam_ring_map(window->fd, bytes, true);
	return *base ? 0 : -errno;
}

static uint64_t slots_for(const struct beam_window *window, uint32_t segment_bytes)
{
	uint64_t most = (window->shared ? SHARED_MAX : PRIVATE_MAX) / segment_bytes;
	uint64_t nslots = window->memory_bytes / segment_bytes;

	if (most < SLOTS_ENOUGH)
		most = SLOTS_ENOUGH;
	if (most > SLOTS_MAX)
		most = SLOTS_MAX;
	return nslots < SLOTS_MIN ? SLOTS_MIN : nslots > most ? most : nslots;
}

static int window_begin(void *ctx, uint32_t segment_bytes)
{
	struct beam_window *window = ctx;
	uint64_t nslots = slots_for(window, segment_bytes);
	void *base = NULL;
	int err = map_slots(window, nslots, segment_bytes, &base);

	if (err)
		return err;
	window->len_bytes = calloc(nslots, sizeof(*window->len_bytes));
	window->crc = calloc(nslots, sizeof(*window->crc));
	if (!window->len_bytes || !window->crc) {
		unmap_slots(window, base, nslots * segment_bytes);
		return -ENOMEM;
	}
	window->base = base;
	window->segment_bytes = segment_bytes;
	window->nslots = (uint32_t)nslots;
	beam_trim_init(&window->trim, &window->gen, segment_bytes);
	return 0;
}

static uint8_t *slot_at(const struct beam_window *window, uint32_t index)
{
	return window->base + (size_t)(index % window->nslots) * window->segment_bytes;
}

/* A slot that was never used is still as the kernel gave it. */
static bool window_blank(void *ctx, uint32_t index)
{
	const struct beam_window *window = ctx;

	return index >= window->given && index < window->nslots;
}

static int window_room(void *ctx, uint32_t index, uint8_t **buf)
{
	struct beam_window *window = ctx;
	uint64_t count;

	pthread_mutex_lock(&window->lock);
	bool room = index - window->fed < window->nslots;

	/* Clear it under the lock, so that the next release signals again. */
	if (!room && read(window->wake, &count, sizeof(count)) < 0)
		room = false;
	pthread_mutex_unlock(&window->lock);
	*buf = slot_at(window, index);
	if (room && index >= window->given)
		window->given = index + 1;
	return room ? 0 : -EAGAIN;
}

static int window_take(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		       const struct beam_segment_proof *proof)
{
	struct beam_window *window = ctx;

	(void)buf;
	pthread_mutex_lock(&window->lock);
	window->crc[index % window->nslots] = proof->crc;
	window->len_bytes[index % window->nslots] = len_bytes;
	pthread_cond_signal(&window->changed);
	pthread_mutex_unlock(&window->lock);
	return 0;
}

static void *window_memory(void *ctx, uint64_t *len_bytes)
{
	const struct beam_window *window = ctx;

	*len_bytes = (uint64_t)window->nslots * window->segment_bytes;
	return window->base;
}

static void window_back(void *ctx, uint32_t index, uint8_t *buf)
{
	(void)ctx, (void)index, (void)buf; /* each index has its own slot */
}

void beam_window_sink(struct beam_window *window, struct beam_segment_sink *out)
{
	*out = (struct beam_segment_sink){.ctx = window,
					  .begin = window_begin,
					  .room = window_room,
					  .blank = window_blank,
					  .take = window_take,
					  .back = window_back,
					  .memory = window_memory,
					  .wake_fd = window->wake};
}

/* Looks at a segment by index; the caller holds the lock. Returns 1, 0, -EAGAIN when it is not
 * there yet, or the code of the pull's failure. */
static int look(const struct beam_window *window, uint32_t index, const uint8_t **base,
		uint32_t *len_bytes)
{
	if (window->code)
		return window->code;
	if (window->nsegments && index >= window->nsegments)
		return 0;
	if (!window->nslots || index - window->fed >= window->nslots)
		return -EAGAIN;
	*len_bytes = window->len_bytes[index % window->nslots];
	*base = slot_at(window, index);
	return *len_bytes ? 1 : -EAGAIN;
}

static int wait_for(struct beam_window *window, const uint32_t *index, const uint8_t **base,
		    uint32_t *len_bytes, int timeout_ms)
{
	struct timespec deadline;
	int rc, err = 0;

	beam_deadline_in(&deadline, timeout_ms);
	pthread_mutex_lock(&window->lock);
	while ((rc = look(window, *index, base, len_bytes)) == -EAGAIN && err != ETIMEDOUT)
		err = timeout_ms
			  ? pthread_cond_timedwait(&window->changed, &window->lock, &deadline)
			  : ETIMEDOUT;
	pthread_mutex_unlock(&window->lock);
	return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

int beam_window_look(struct beam_window *window, uint32_t index, const uint8_t **base,
		     uint32_t *len_bytes, int timeout_ms)
{
	return wait_for(window, &index, base, len_bytes, timeout_ms);
}

static int window_next(void *ctx, const uint8_t **base, uint32_t *len_bytes, int timeout_ms)
{
	struct beam_window *window = ctx;
	int rc = wait_for(window, &window->fed, base, len_bytes, timeout_ms);

	if (rc == 1 && !window->whole)
		*len_bytes = beam_trim_next(&window->trim, slot_at(window, window->fed), *len_bytes,
					    window->fed, window->crc[window->fed % window->nslots]);
	return rc;
}

void beam_window_shape(const struct beam_window *window, struct beam_window_shape *out)
{
	*out = (struct beam_window_shape){.fd = window->fd,
					  .base = window->base,
					  .segment_bytes = window->segment_bytes,
					  .nslots = window->nslots,
					  .gen = window->gen};
}

static void window_release(void *ctx)
{
	struct beam_window *window = ctx;
	uint64_t one = 1;

	pthread_mutex_lock(&window->lock);
	window->len_bytes[window->fed % window->nslots] = 0;
	window->fed++;
	pthread_cond_signal(&window->changed);
	/* Fails only when the counter is full, and then it is readable anyway. */
	if (write(window->wake, &one, sizeof(one)) < 0)
		errno = 0;
	pthread_mutex_unlock(&window->lock);
}

void beam_window_source(struct beam_window *window, bool whole, struct beam_image_source *out)
{
	window->whole = whole;
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
