/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Each segment has a mapping of its own, so the memory of a failed or dropped image is returned
 * piece by piece.
 */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "ctl.h"
#include "rdbeam/error.h"
#include "sockets.h"

/* How many images that are over may be kept, beside the newest, when another is begun. */
#define OVER_MAX 1
#define WAIT_MS  500

int relay_store_open(struct relay_store *store)
{
	pthread_condattr_t attr;

	memset(store, 0, sizeof(*store));
	store->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (store->wake < 0)
		return -errno;
	pthread_mutex_init(&store->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&store->changed, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void relay_store_close(struct relay_store *store)
{
	for (struct beam_served *image = store->images, *next; image; image = next) {
		next = image->next;
		relay_image_free(image);
	}
	beam_close(&store->wake);
	pthread_cond_destroy(&store->changed);
	pthread_mutex_destroy(&store->lock);
}

static void wake_loop(struct relay_store *store)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then it is readable anyway. */
	if (write(store->wake, &one, sizeof(one)) < 0)
		errno = 0;
}

static unsigned int count_over(const struct relay_store *store)
{
	unsigned int n = 0;

	for (const struct beam_served *image = store->images; image; image = image->next)
		n += image->over;
	return n;
}

/* Readers may finish what they have begun, so that a relay behind a slow link, or a slow replica,
 * gets complete images however quickly new ones follow here. Waiting for room limits the memory
 * that this may cost. */
bool relay_store_wait_for_room(struct relay_store *store, const atomic_bool *stop)
{
	struct timespec until;
	bool waited = false;

	beam_deadline_in(&until, WAIT_MS);
	pthread_mutex_lock(&store->lock);
	while (!atomic_load(stop) && count_over(store) > OVER_MAX) {
		store->short_of_room = waited = true;
		wake_loop(store);
		if (pthread_cond_timedwait(&store->changed, &store->lock, &until))
			break;
	}
	store->short_of_room = false;
	pthread_mutex_unlock(&store->lock);
	return waited;
}

int relay_store_begin(struct relay_store *store, struct beam_gen gen, struct beam_served **out)
{
	struct beam_served *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	image->store = store;
	image->gen = gen;
	pthread_mutex_lock(&store->lock);
	image->next = store->images;
	store->images = image;
	pthread_mutex_unlock(&store->lock);
	*out = image;
	return 0;
}

/* ---- the sink ------------------------------------------------------------------------------- */

static int sink_begin(void *ctx, uint32_t segment_bytes)
{
	struct beam_served *image = ctx;

	pthread_mutex_lock(&image->store->lock);
	image->segment_bytes = segment_bytes;
	pthread_mutex_unlock(&image->store->lock);
	return 0;
}

static int sink_room(void *ctx, uint32_t index, uint8_t **buf)
{
	struct beam_served *image = ctx;
	void *base = mmap(NULL, image->segment_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)index;
	if (base == MAP_FAILED)
		return -errno;
	*buf = base;
	return 0;
}

static void *sink_memory(void *ctx, uint64_t *len_bytes)
{
	(void)ctx;
	*len_bytes = 0; /* each segment is mapped separately */
	return NULL;
}

static void sink_back(void *ctx, uint32_t index, uint8_t *buf)
{
	const struct beam_served *image = ctx;

	(void)index;
	munmap(buf, image->segment_bytes);
}

/* Makes room for `index` in the list. The caller holds the lock. */
static int know(struct beam_served *image, uint32_t index)
{
	if (index >= image->cap) {
		uint32_t cap = image->cap ? image->cap : 256;

		while (cap <= index)
			cap *= 2;
		struct relay_segment *grown = realloc(image->segments, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		memset(grown + image->cap, 0, (cap - image->cap) * sizeof(*grown));
		image->segments = grown;
		image->cap = cap;
	}
	if (index >= image->nknown)
		image->nknown = index + 1;
	return 0;
}

static int sink_take(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		     const struct beam_segment_proof *proof)
{
	struct beam_served *image = ctx;

	pthread_mutex_lock(&image->store->lock);
	int err = know(image, index);

	if (!err)
		image->segments[index] = (struct relay_segment){.base = buf,
								.len_bytes = len_bytes,
								.crc = proof->crc,
								.vouched = *proof->vouched};
	pthread_mutex_unlock(&image->store->lock);
	if (!err)
		wake_loop(image->store);
	return err;
}

void relay_image_sink(struct beam_served *image, struct beam_segment_sink *out)
{
	*out = (struct beam_segment_sink){.ctx = image,
					  .begin = sink_begin,
					  .room = sink_room,
					  .take = sink_take,
					  .back = sink_back,
					  .memory = sink_memory,
					  .wake_fd = -1};
}

void relay_image_whole(struct beam_served *image, const struct beam_wire_complete *totals,
		       const struct beam_wire_vouched *vouched)
{
	pthread_mutex_lock(&image->store->lock);
	image->totals = *totals;
	image->totals_vouched = *vouched;
	image->complete = true;
	pthread_mutex_unlock(&image->store->lock);
	wake_loop(image->store);
}

static void put_over(struct beam_served *image, bool failed)
{
	struct relay_store *store = image->store;

	pthread_mutex_lock(&store->lock);
	image->over = true;
	image->failed = failed;
	image->tickets_ms = beam_now_ms() + BEAM_RELAY_TICKET_MS;
	pthread_mutex_unlock(&store->lock);
	wake_loop(store);
}

void relay_image_over(struct beam_served *image)
{
	put_over(image, false);
}

void relay_image_failed(struct beam_served *image)
{
	put_over(image, true);
}

/* ---- the loop's thread ---------------------------------------------------------------------- */

int relay_image_segment(struct beam_served *image, uint32_t index, struct relay_segment *out)
{
	int rc = 0;

	pthread_mutex_lock(&image->store->lock);
	if (image->failed)
		rc = BEAM_E_STALE;
	else if (image->complete && index >= image->totals.nsegments)
		rc = -ERANGE;
	else if (index >= image->nknown || !image->segments[index].base)
		rc = -EAGAIN;
	else
		*out = image->segments[index];
	pthread_mutex_unlock(&image->store->lock);
	return rc;
}

void relay_image_free(struct beam_served *image)
{
	struct relay_store *store = image->store;

	pthread_mutex_lock(&store->lock);
	for (struct beam_served **at = &store->images; *at; at = &(*at)->next) {
		if (*at == image) {
			*at = image->next;
			break;
		}
	}
	pthread_cond_signal(&store->changed);
	pthread_mutex_unlock(&store->lock);
	for (uint32_t i = 0; i < image->nknown; i++)
		if (image->segments[i].base)
			munmap(image->segments[i].base, image->segment_bytes);
	free(image->segments);
	free(image);
}
