/* SPDX-License-Identifier: BSD-3-Clause
 * The owner's side of the region. The number of a freed extent is not reused while there are other
 * free numbers: a lane that has not yet heard of the change would find the old memory under it. */
#include "region.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "region_state.h"
#include "sockets.h"
#include "table.h"

/* --- open and close ----------------------------------------------------------------------- */

static int check_opts(const struct beam_region_opts *opts)
{
	if (opts->segment_bytes && opts->segment_bytes % BEAM_SEGMENT_ALIGN == 0 &&
	    opts->segment_bytes <= BEAM_SEGMENT_MAX)
		return 0;
	beam_log(BEAM_LOG_WARNING,
		 "region: segment size %" PRIu32 " refused: a multiple of %u up to %u is allowed",
		 opts->segment_bytes, BEAM_SEGMENT_ALIGN, BEAM_SEGMENT_MAX);
	return -EINVAL;
}

static int start_thread(struct beam_region *r)
{
	int err = BEAM_FAULT("region.thread");

	err = err ? err : -pthread_create(&r->threads[r->nthreads], NULL, beam_region_growth, r);
	r->nthreads += !err;
	return err;
}

/* One per processor that we may use, except for one: a thread that is clearing pages does not give
 * way to a server that wakes up before the next tick. */
static int wanted_threads(const struct beam_region_opts *opts)
{
	cpu_set_t cpus;
	int n = (int)opts->threads;

	if (!n)
		n = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus) - 1;
	n = n < BEAM_GROWTH_THREADS ? n : BEAM_GROWTH_THREADS;
	return n > 1 ? n : 1;
}

/* Fewer threads than wanted will do. They block all signals, which belong to the loop. */
static int start_threads(struct beam_region *r)
{
	sigset_t all, old;
	int err, n = wanted_threads(&r->opts);

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	do {
		err = start_thread(r);
	} while (!err && r->nthreads < n);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r->nthreads ? 0 : err;
}

static void stop_threads(struct beam_region *r)
{
	pthread_mutex_lock(&r->lock);
	atomic_store(&r->stop, true);
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < r->nthreads; i++)
		pthread_join(r->threads[i], NULL);
}

int beam_region_open(const struct beam_region_opts *opts, struct beam_region **out)
{
	int err = check_opts(opts);

	if (err)
		return err;
	struct beam_region *r = BEAM_FAULT("region.open") ? NULL : calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->opts = *opts;
	r->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event < 0) {
		err = -errno;
		goto free_region;
	}
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	err = start_threads(r);
	if (err)
		goto close_event;
	*out = r;
	return 0;
close_event:
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	beam_close(&r->event);
free_region:
	free(r);
	beam_log(BEAM_LOG_WARNING, "region: could not open: %s", beam_strerror(err));
	return err;
}

static void free_list(struct beam_holder *list)
{
	while (list) {
		struct beam_holder *next = list->next;

		beam_extent_free(&list->extent);
		free(list);
		list = next;
	}
}

void beam_region_close(struct beam_region **region)
{
	struct beam_region *r = *region;

	if (!r)
		return;
	stop_threads(r);
	for (uint32_t i = 0; i < r->nnumbers; i++)
		free_list(r->holders[i]);
	free_list(r->made);
	free_list(r->dead);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	beam_close(&r->event);
	free(r);
	*region = NULL;
}

/* --- the owner's table of extents --------------------------------------------------------- */

/* Picks a number for a new extent: the next free one, cyclically, so that numbers are reused as
 * late as possible. */
static uint32_t pick_number(struct beam_region *r)
{
	while (r->holders[r->next_number])
		r->next_number = (r->next_number + 1) % BEAM_EXTENTS_MAX;
	uint32_t number = r->next_number;

	r->next_number = (number + 1) % BEAM_EXTENTS_MAX;
	if (number >= r->nnumbers)
		r->nnumbers = number + 1;
	return number;
}

static void add_holder(struct beam_region *r, struct beam_holder *holder)
{
	holder->next = NULL;
	r->holders[pick_number(r)] = holder;
	r->nfree += holder->nfree;
	r->nslots += holder->nslots;
	r->bytes += holder->extent.bytes;
	r->page_bytes = beam_pages_bytes(holder->extent.pages);
}

/* Passes an extent without held slots to the threads, which free it. Call it with the lock held. */
static void drop_holder(struct beam_region *r, uint32_t number)
{
	struct beam_holder *holder = r->holders[number];

	r->holders[number] = NULL;
	while (r->nnumbers && !r->holders[r->nnumbers - 1])
		r->nnumbers--;
	r->nfree -= holder->nfree;
	r->nslots -= holder->nslots;
	r->bytes -= holder->extent.bytes;
	beam_region_bury(r, holder);
}

/* Drops what threads have made or are making. Call it with the lock held. */
static void cancel_growth(struct beam_region *r)
{
	r->epoch++;
	r->todo = 0;
	r->nmade = 0;
	while (r->made) {
		struct beam_holder *holder = r->made;

		r->made = holder->next;
		beam_region_bury(r, holder);
	}
}

void beam_region_trim(struct beam_region *r, uint32_t keep_free)
{
	pthread_mutex_lock(&r->lock);
	if (!keep_free && atomic_load(&r->page_cost.unhurried))
		cancel_growth(r); /* it would replace what is given back here */
	for (uint32_t i = r->nnumbers; i-- > 0;) {
		const struct beam_holder *holder = r->holders[i];

		if (holder && holder->nfree == holder->nslots &&
		    r->nfree - holder->nslots >= keep_free)
			drop_holder(r, i);
	}
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

void beam_region_renew(struct beam_region *r)
{
	uint32_t nslots = 0;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = r->nnumbers; i-- > 0 && !r->todo;) {
		const struct beam_holder *holder = r->holders[i];

		if (!holder || !holder->extent.spared || holder->nfree != holder->nslots)
			continue;
		nslots += holder->nslots;
		drop_holder(r, i);
	}
	if (nslots) {
		r->todo = nslots;
		atomic_store(&r->page_cost.unhurried, true);
		pthread_cond_broadcast(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
}

int beam_region_configure(struct beam_region *r, const struct beam_region_opts *opts)
{
	int err = check_opts(opts);

	if (err)
		return err;
	pthread_mutex_lock(&r->lock);
	bool resized = opts->segment_bytes != r->opts.segment_bytes;

	if (resized && r->nfree != r->nslots) {
		pthread_mutex_unlock(&r->lock);
		return -EBUSY;
	}
	if (resized)
		cancel_growth(r);
	r->opts = *opts;
	pthread_mutex_unlock(&r->lock);
	if (resized)
		beam_region_trim(r, 0);
	return 0;
}

int beam_region_fd(const struct beam_region *r)
{
	return r->event;
}

void beam_region_hurry(struct beam_region *r)
{
	atomic_store(&r->page_cost.unhurried, false);
}

void beam_region_grow(struct beam_region *r, uint32_t want_free)
{
	pthread_mutex_lock(&r->lock);
	uint64_t have = (uint64_t)r->nfree + r->nmade + r->todo;

	r->want_free = want_free;
	beam_region_hurry(r);
	if (want_free > have) {
		r->todo += (uint32_t)(want_free - have);
		pthread_cond_broadcast(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
}

void beam_region_enough(struct beam_region *r)
{
	pthread_mutex_lock(&r->lock);
	r->todo = 0;
	r->want_free = 0;
	pthread_mutex_unlock(&r->lock);
}

int beam_region_collect(struct beam_region *r)
{
	uint64_t count;

	if (read(r->event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		beam_log(BEAM_LOG_WARNING, "region: eventfd: %s", strerror(errno));
	pthread_mutex_lock(&r->lock);
	struct beam_holder *made = r->made;
	int failure = r->failure;

	r->made = NULL;
	r->nmade = 0;
	r->failure = 0;
	if (failure)
		memcpy(r->error, r->failure_text, sizeof(r->error));
	pthread_mutex_unlock(&r->lock);
	while (made) {
		struct beam_holder *next = made->next;

		add_holder(r, made);
		made = next;
	}
	return r->nfree < r->want_free ? failure : 0;
}

const char *beam_region_error(const struct beam_region *r)
{
	return r->error;
}

bool beam_region_growing(const struct beam_region *region)
{
	struct beam_region *r = (struct beam_region *)(uintptr_t)region; /* the mutex is mutable */

	pthread_mutex_lock(&r->lock);
	bool growing = r->todo > 0;

	pthread_mutex_unlock(&r->lock);
	return growing;
}

/* --- slots -------------------------------------------------------------------------------- */

static uint32_t first_clear(const uint64_t *busy)
{
	uint32_t word = 0;

	while (!~busy[word])
		word++;
	return word * 64 + (uint32_t)__builtin_ctzll(~busy[word]);
}

int beam_region_take(struct beam_region *r, uint32_t *slot)
{
	(void)BEAM_FAULT("region.take");
	if (r->nfree == 0)
		return -EAGAIN;
	uint32_t number = 0;

	while (!r->holders[number] || !r->holders[number]->nfree)
		number++;
	struct beam_holder *holder = r->holders[number];
	uint32_t place = first_clear(holder->busy);

	assert(place < holder->nslots);
	holder->busy[place / 64] |= 1ull << (place % 64);
	holder->nfree--;
	r->nfree--;
	*slot = BEAM_SLOT(number, place);
	return 0;
}

/* The holder of a slot that is held. */
static struct beam_holder *holder_of(const struct beam_region *r, uint32_t slot)
{
	uint32_t number = BEAM_SLOT_EXTENT(slot);

	assert(number < r->nnumbers && r->holders[number]);
	assert(BEAM_SLOT_PLACE(slot) < r->holders[number]->nslots);
	return r->holders[number];
}

void beam_region_give(struct beam_region *r, uint32_t slot)
{
	struct beam_holder *holder = holder_of(r, slot);
	uint32_t place = BEAM_SLOT_PLACE(slot);

	assert(holder->busy[place / 64] >> (place % 64) & 1);
	holder->busy[place / 64] &= ~(1ull << (place % 64));
	holder->nfree++;
	r->nfree++;
}

void *beam_region_at(const struct beam_region *r, uint32_t slot)
{
	const struct beam_extent *extent = &holder_of(r, slot)->extent;

	return extent->base + (uint64_t)BEAM_SLOT_PLACE(slot) * extent->segment_bytes;
}

int beam_region_file(const struct beam_region *r, uint32_t slot, uint64_t *at)
{
	const struct beam_extent *extent = &holder_of(r, slot)->extent;

	*at = (uint64_t)BEAM_SLOT_PLACE(slot) * extent->segment_bytes;
	return extent->fd;
}

uint32_t beam_region_free_slots(const struct beam_region *r)
{
	return r->nfree;
}

uint32_t beam_region_extents(const struct beam_region *r)
{
	return r->nnumbers;
}

bool beam_region_extent(const struct beam_region *r, uint32_t number, int *fd, void **base,
			uint64_t *bytes)
{
	if (number >= r->nnumbers || !r->holders[number])
		return false;
	*fd = r->holders[number]->extent.fd;
	*base = r->holders[number]->extent.base;
	*bytes = r->holders[number]->extent.bytes;
	return true;
}

uint64_t beam_region_bytes(const struct beam_region *r)
{
	return r->bytes;
}

uint64_t beam_region_page_bytes(const struct beam_region *r)
{
	return r->page_bytes;
}

uint64_t beam_region_could_hold(const struct beam_region *region, uint64_t enough)
{
	struct beam_region *r = (struct beam_region *)(uintptr_t)region; /* the mutex is mutable */
	uint64_t pool;

	pthread_mutex_lock(&r->lock);
	struct beam_region_opts opts = r->opts;
	uint64_t held = r->held - r->dying, slots = (uint64_t)r->nfree + r->nmade;

	pthread_mutex_unlock(&r->lock);
	if (slots >= enough)
		return slots;
	return slots + beam_region_room(&opts, held, 0, &pool) / opts.segment_bytes;
}
