/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The owner's side of the region. Two halves meet under one mutex: the loop's thread keeps the
 * table of extents and their slots; the faulting thread makes extents and frees them, which takes
 * long, and knows only byte counts.
 *
 *	grow: todo += segments       thread: makes an extent, todo -= its segments, -> made, eventfd
 *	collect: made -> extents[]   trim: extents[] -> dead          thread: frees dead
 *
 * An extent's number is not used again while others are left: a lane that has not heard of the
 * exchange yet would find the old memory under it.
 */
#include "region.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "extent.h"
#include "fault.h"
#include "log.h"
#include "memory.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "table.h"

#define SLOTS_MAX         (BEAM_EXTENT_MAX_BYTES / BEAM_SEGMENT_ALIGN) /* of one extent */
#define EXTENT_SEGMENTS   16          /* an extent has at least so many, if there is room */
#define EXTENT_STEP_BYTES (64u << 20) /* first extents are small, so that slots come soon */

/* An extent with its slots, or on its way from or to the thread. */
struct holder {
	struct holder *next;
	struct beam_extent extent;
	uint32_t nslots, nfree;
	uint64_t busy[SLOTS_MAX / 64]; /* bit set: a generation holds the slot */
};

struct beam_region {
	/* the loop's thread */
	struct holder *holders[BEAM_EXTENTS_MAX];
	uint32_t nnumbers; /* numbers below it may be in use */
	uint32_t next_number;
	uint32_t nfree, nslots;
	uint32_t want_free; /* of the last growth asked for */
	uint64_t bytes, page_bytes;
	char error[BEAM_TEXT_BYTES];
	/* shared */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int event;
	atomic_bool stop; /* set under the lock; read without it between segments */
	struct beam_region_opts opts;
	uint32_t todo;       /* segments to make, the extent being made included */
	uint32_t epoch;      /* counts changes of segment_bytes */
	uint32_t nextents;   /* collected, made and dead */
	uint64_t held;       /* their bytes */
	uint32_t nmade;      /* slots in `made` */
	struct holder *made; /* oldest first */
	struct holder *dead;
	int failure; /* of the last growth, until collected */
	char failure_text[BEAM_TEXT_BYTES];
	unsigned said; /* bit for each enum beam_pages that the log has named */
};

static void signal_owner(struct beam_region *r)
{
	uint64_t one = 1;

	/* A full counter is readable already. */
	if (write(r->event, &one, sizeof(one)) < 0 && errno != EAGAIN)
		beam_log(BEAM_LOG_WARNING, "region: eventfd: %s", strerror(errno));
}

/* --- how much ----------------------------------------------------------------------------- */

/* Bytes that may still be added to `held`, and where: the pool has `*hugetlb` of them. */
static uint64_t room(const struct beam_region_opts *opts, uint64_t held, uint64_t *hugetlb)
{
	uint64_t pool = opts->hugepages == BEAM_HUGEPAGES_NO ? 0 : beam_memory_hugetlb_free();
	uint64_t memory = opts->hugepages == BEAM_HUGEPAGES_REQUIRE ? 0 : beam_memory_available();
	uint64_t limit = opts->max_bytes ? opts->max_bytes : (held + pool + memory) / 2;
	uint64_t left = limit > held ? limit - held : 0;
	/* Never the last of the memory: the server next door would pay with the OOM killer. */
	uint64_t most = pool + memory - memory / 16;

	*hugetlb = pool;
	return left < most ? left : most;
}

/* Size of the next extent: what is needed, in steps that grow with the region. */
static uint64_t next_bytes(uint32_t segment_bytes, uint32_t todo, uint64_t held, uint64_t most)
{
	uint64_t step = held / 8 > EXTENT_STEP_BYTES ? held / 8 : EXTENT_STEP_BYTES;
	uint64_t least = (uint64_t)EXTENT_SEGMENTS * segment_bytes;
	uint64_t bytes = (uint64_t)todo * segment_bytes;

	bytes = bytes < step ? bytes : step;
	bytes = bytes > least ? bytes : least;
	bytes = bytes < BEAM_EXTENT_MAX_BYTES ? bytes : BEAM_EXTENT_MAX_BYTES;
	bytes = bytes < most ? bytes : most;
	return bytes - bytes % segment_bytes;
}

/* --- the faulting thread ------------------------------------------------------------------ */

static void say_pages(struct beam_region *r, const struct beam_extent *extent)
{
	unsigned bit = 1u << extent->pages;

	if (r->said & bit)
		return;
	r->said |= bit;
	beam_log(BEAM_LOG_NOTICE, "region: memory is in %s%s", beam_pages_name(extent->pages),
		 extent->pages == BEAM_PAGES_HUGETLB || r->opts.hugepages == BEAM_HUGEPAGES_NO
		     ? ""
		     : " (the hugetlb pool is empty or too small: see vm.nr_hugepages)");
}

/* Makes an extent of at most `bytes`, of the best pages there are. Without the lock. */
static int make_extent(struct beam_region *r, const struct beam_region_opts *opts, uint64_t bytes,
		       uint64_t pool, struct beam_extent *out)
{
	uint64_t huge = (pool < bytes ? pool : bytes) / opts->segment_bytes * opts->segment_bytes;
	int err = BEAM_FAULT("region.make");

	if (err)
		return err;
	if (huge) {
		err = beam_extent_make_hugetlb(huge, opts->segment_bytes, &r->stop, out);
		if (!err || err == -ECANCELED || opts->hugepages == BEAM_HUGEPAGES_REQUIRE)
			return err;
	}
	uint64_t memory = beam_memory_available() / 16 * 15; /* the pool was not part of it */

	bytes = bytes < memory ? bytes : memory - memory % opts->segment_bytes;
	if (bytes == 0 || opts->hugepages == BEAM_HUGEPAGES_REQUIRE)
		return -ENOSPC;
	return beam_extent_make_shmem(bytes, opts->segment_bytes,
				      opts->hugepages == BEAM_HUGEPAGES_TRY, &r->stop, out);
}

/* With the lock: the growth ends here. */
static void fail_growth(struct beam_region *r, int code, const char *why)
{
	r->todo = 0;
	r->failure = code;
	snprintf(r->failure_text, sizeof(r->failure_text), "%s", why);
	beam_log(BEAM_LOG_NOTICE, "%s", why);
	signal_owner(r);
}

static void fail_for_room(struct beam_region *r, const struct beam_region_opts *opts)
{
	char why[BEAM_TEXT_BYTES];
	uint64_t held = r->held;

	if (opts->hugepages == BEAM_HUGEPAGES_REQUIRE && !beam_memory_hugetlb_free()) {
		snprintf(why, sizeof(why),
			 "region: %" PRIu64 " MiB held and no free 2 MiB hugetlb page for more: "
			 "raise vm.nr_hugepages, or set hugepages to try",
			 held >> 20);
		fail_growth(r, held ? BEAM_E_FULL : BEAM_E_UNSUPPORTED, why);
		return;
	}
	if (opts->max_bytes && held + opts->segment_bytes > opts->max_bytes)
		snprintf(why, sizeof(why),
			 "region: full, %" PRIu64 " MiB held of %" PRIu64
			 " MiB: raise region-size to hold larger images",
			 held >> 20, opts->max_bytes >> 20);
	else
		snprintf(why, sizeof(why),
			 "region: %" PRIu64 " MiB held and memory is short (%" PRIu64
			 " MiB available): free memory or add some",
			 held >> 20, beam_memory_available() >> 20);
	fail_growth(r, BEAM_E_FULL, why);
}

/* With the lock: hands a new extent to the owner, or drops it if the segment size has changed. */
static void hand_over(struct beam_region *r, struct holder *holder, uint32_t epoch)
{
	struct holder **tail = &r->made;

	r->held += holder->extent.bytes;
	r->nextents++;
	if (epoch != r->epoch) {
		holder->next = r->dead;
		r->dead = holder;
		return;
	}
	while (*tail)
		tail = &(*tail)->next;
	*tail = holder;
	holder->nslots = (uint32_t)(holder->extent.bytes / holder->extent.segment_bytes);
	holder->nfree = holder->nslots;
	r->nmade += holder->nslots;
	r->todo -= holder->nslots < r->todo ? holder->nslots : r->todo;
	say_pages(r, &holder->extent);
	signal_owner(r);
}

/* With the lock, which it gives up while it works: one extent. */
static void grow_once(struct beam_region *r)
{
	struct beam_region_opts opts = r->opts;
	uint32_t epoch = r->epoch;
	uint64_t pool, most = room(&opts, r->held, &pool);
	uint64_t bytes = next_bytes(opts.segment_bytes, r->todo, r->held, most);
	char why[BEAM_TEXT_BYTES];

	if (r->nextents == BEAM_EXTENTS_MAX || bytes == 0) {
		fail_for_room(r, &opts);
		return;
	}
	struct holder *holder = calloc(1, sizeof(*holder));

	pthread_mutex_unlock(&r->lock);
	int err = holder ? make_extent(r, &opts, bytes, pool, &holder->extent) : -ENOMEM;

	pthread_mutex_lock(&r->lock);
	if (!err) {
		hand_over(r, holder, epoch);
		return;
	}
	free(holder);
	if (err == -ECANCELED || epoch != r->epoch)
		return;
	if (err == -ENOSPC) {
		fail_for_room(r, &opts);
		return;
	}
	snprintf(why, sizeof(why), "region: no extent of %" PRIu64 " MiB beside %" PRIu64 ": %s",
		 bytes >> 20, r->held >> 20, beam_strerror(err));
	fail_growth(r, BEAM_E_FULL, why);
}

/* With the lock, which it gives up while it works: frees one dead extent. */
static void bury_once(struct beam_region *r)
{
	struct holder *holder = r->dead;
	uint64_t bytes = holder->extent.bytes;

	r->dead = holder->next;
	pthread_mutex_unlock(&r->lock);
	beam_extent_free(&holder->extent);
	free(holder);
	pthread_mutex_lock(&r->lock);
	r->held -= bytes;
	r->nextents--;
}

static void *faulting_thread(void *arg)
{
	struct beam_region *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!atomic_load(&r->stop)) {
		if (r->dead)
			bury_once(r);
		else if (r->todo)
			grow_once(r);
		else
			pthread_cond_wait(&r->wake, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

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

/* The thread takes no signals: they are the loop's. */
static int start_thread(struct beam_region *r)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = BEAM_FAULT("region.thread");

	err = err ? err : -pthread_create(&r->thread, NULL, faulting_thread, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

int beam_region_open(const struct beam_region_opts *opts, struct beam_region **out)
{
	int err = check_opts(opts);

	if (err)
		return err;
	struct beam_region *r = calloc(1, sizeof(*r));

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
	err = start_thread(r);
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

static void free_list(struct holder *list)
{
	while (list) {
		struct holder *next = list->next;

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
	pthread_mutex_lock(&r->lock);
	atomic_store(&r->stop, true);
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
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

/* A number for a new extent: the next one in a row, around, so that numbers rest before reuse. */
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

static void add_holder(struct beam_region *r, struct holder *holder)
{
	holder->next = NULL;
	r->holders[pick_number(r)] = holder;
	r->nfree += holder->nfree;
	r->nslots += holder->nslots;
	r->bytes += holder->extent.bytes;
	r->page_bytes = beam_pages_bytes(holder->extent.pages);
}

/* Gives an extent without held slots to the thread, to be freed there. With the lock. */
static void drop_holder(struct beam_region *r, uint32_t number)
{
	struct holder *holder = r->holders[number];

	r->holders[number] = NULL;
	while (r->nnumbers && !r->holders[r->nnumbers - 1])
		r->nnumbers--;
	r->nfree -= holder->nfree;
	r->nslots -= holder->nslots;
	r->bytes -= holder->extent.bytes;
	holder->next = r->dead;
	r->dead = holder;
}

void beam_region_trim(struct beam_region *r)
{
	pthread_mutex_lock(&r->lock);
	for (uint32_t i = r->nnumbers; i-- > 0;)
		if (r->holders[i] && r->holders[i]->nfree == r->holders[i]->nslots)
			drop_holder(r, i);
	pthread_cond_signal(&r->wake);
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
	if (resized) {
		r->epoch++;
		r->todo = 0;
		r->nmade = 0;
		while (r->made) {
			struct holder *holder = r->made;

			r->made = holder->next;
			holder->next = r->dead;
			r->dead = holder;
		}
	}
	r->opts = *opts;
	pthread_mutex_unlock(&r->lock);
	if (resized)
		beam_region_trim(r);
	return 0;
}

int beam_region_fd(const struct beam_region *r)
{
	return r->event;
}

void beam_region_grow(struct beam_region *r, uint32_t want_free)
{
	pthread_mutex_lock(&r->lock);
	uint64_t have = (uint64_t)r->nfree + r->nmade + r->todo;

	r->want_free = want_free;
	if (want_free > have) {
		r->todo += (uint32_t)(want_free - have);
		pthread_cond_signal(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
}

int beam_region_collect(struct beam_region *r)
{
	uint64_t count;

	if (read(r->event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		beam_log(BEAM_LOG_WARNING, "region: eventfd: %s", strerror(errno));
	pthread_mutex_lock(&r->lock);
	struct holder *made = r->made;
	int failure = r->failure;

	r->made = NULL;
	r->nmade = 0;
	r->failure = 0;
	if (failure)
		memcpy(r->error, r->failure_text, sizeof(r->error));
	pthread_mutex_unlock(&r->lock);
	while (made) {
		struct holder *next = made->next;

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
	if (r->nfree == 0)
		return -EAGAIN;
	uint32_t number = 0;

	while (!r->holders[number] || !r->holders[number]->nfree)
		number++;
	struct holder *holder = r->holders[number];
	uint32_t place = first_clear(holder->busy);

	assert(place < holder->nslots);
	holder->busy[place / 64] |= 1ull << (place % 64);
	holder->nfree--;
	r->nfree--;
	*slot = BEAM_SLOT(number, place);
	return 0;
}

/* The holder of a slot that is held. */
static struct holder *holder_of(const struct beam_region *r, uint32_t slot)
{
	uint32_t number = BEAM_SLOT_EXTENT(slot);

	assert(number < r->nnumbers && r->holders[number]);
	assert(BEAM_SLOT_PLACE(slot) < r->holders[number]->nslots);
	return r->holders[number];
}

void beam_region_give(struct beam_region *r, uint32_t slot)
{
	struct holder *holder = holder_of(r, slot);
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

uint64_t beam_region_could_hold(const struct beam_region *region)
{
	struct beam_region *r = (struct beam_region *)(uintptr_t)region; /* the mutex is mutable */
	uint64_t pool;

	pthread_mutex_lock(&r->lock);
	struct beam_region_opts opts = r->opts;
	uint64_t held = r->held, slots = (uint64_t)r->nfree + r->nmade;

	pthread_mutex_unlock(&r->lock);
	return slots + room(&opts, held, &pool) / opts.segment_bytes;
}
