/* SPDX-License-Identifier: BSD-3-Clause
 * The threads that make memory: how much the region may take, in which pieces, of which pages. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "log.h"
#include "memory.h"
#include "rdbeam/error.h"
#include "region_state.h"

#define EXTENT_SEGMENTS   16          /* least size of an extent, once the region has as many */
#define EXTENT_STEP_BYTES (64u << 20) /* first extents are small, so that slots come soon */
#define FIRST_SEGMENTS    4           /* of the first extent, for which a saving child waits */

static void signal_owner(struct beam_region *r)
{
	uint64_t one = 1;

	/* If the counter is full the fd is readable already. */
	if (write(r->event, &one, sizeof(one)) < 0 && errno != EAGAIN)
		beam_log(BEAM_LOG_WARNING, "region: eventfd: %s", strerror(errno));
}

/* --- how much ----------------------------------------------------------------------------- */

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

uint64_t beam_region_room(const struct beam_region_opts *opts, uint64_t held, uint64_t making,
			  uint64_t *hugetlb)
{
	uint64_t pool = opts->hugepages == BEAM_HUGEPAGES_NO ? 0 : beam_memory_hugetlb_free();
	uint64_t memory = opts->hugepages == BEAM_HUGEPAGES_REQUIRE ? 0 : beam_memory_available();
	uint64_t limit = opts->max_bytes ? opts->max_bytes : (held + pool + memory) / 2;
	uint64_t left = minus(limit, held + making);

	/* How much of it exists already is not known, nor whether it comes from the pool. */
	pool = minus(pool, making);
	memory = minus(memory, making);
	/* Never take the last of the memory: the OOM killer might kill the server next to us. */
	uint64_t most = pool + memory - memory / 16;

	*hugetlb = pool;
	return left < most ? left : most;
}

/* Size of the next extent: what is needed, in steps that grow with the region. */
static uint64_t next_bytes(uint32_t segment_bytes, uint32_t todo, uint64_t held, uint64_t most)
{
	uint64_t step = held / 8 > EXTENT_STEP_BYTES ? held / 8 : EXTENT_STEP_BYTES;
	uint64_t least = (uint64_t)EXTENT_SEGMENTS * segment_bytes;
	uint64_t first = (uint64_t)FIRST_SEGMENTS * segment_bytes;
	uint64_t bytes = (uint64_t)todo * segment_bytes;

	/* The region of a small image stays small. */
	least = held > least ? least : held > first ? held : first;
	bytes = bytes < step ? bytes : step;
	bytes = bytes > least ? bytes : least;
	bytes = held || bytes < first ? bytes : first;
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

/* Makes an extent of at most `bytes`, of the best pages available. Call it without the lock. */
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
	uint64_t memory = beam_memory_available() / 16 * 15; /* it does not include the pool */

	bytes = bytes < memory ? bytes : memory - memory % opts->segment_bytes;
	if (bytes == 0 || opts->hugepages == BEAM_HUGEPAGES_REQUIRE)
		return -ENOSPC;
	return beam_extent_make_shmem(bytes, opts->segment_bytes,
				      opts->hugepages == BEAM_HUGEPAGES_TRY, &r->page_cost,
				      &r->stop, out);
}

/* Ends the growth. Call it with the lock held. */
static void fail_growth(struct beam_region *r, int code, const char *why)
{
	r->todo = 0;
	if (atomic_load(&r->page_cost.unhurried)) {
		/* Nobody has asked for this memory. */
		beam_log(BEAM_LOG_DEBUG, "pages not made again: %s", why);
		return;
	}
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
	else {
		struct beam_memory_left left;

		beam_memory_look(0, &left);
		snprintf(why, sizeof(why),
			 "region: %" PRIu64 " MiB held and memory is short (%" PRIu64
			 " MiB available): %s",
			 held >> 20, left.bytes >> 20,
			 left.group_limit ? "raise MemoryMax and MemoryHigh of the unit, or the "
					    "container's limit"
					  : "free memory or add some");
	}
	fail_growth(r, BEAM_E_FULL, why);
}

/* Passes a new extent to the owner, or drops it if it is not wanted any more. Call it with the lock
 * held. */
static void hand_over(struct beam_region *r, struct beam_holder *holder, uint32_t epoch)
{
	struct beam_holder **tail = &r->made;

	r->held += holder->extent.bytes;
	r->nextents++;
	/* If a save has begun since, it waits for this one. */
	if (epoch != r->epoch &&
	    (!r->todo || holder->extent.segment_bytes != r->opts.segment_bytes)) {
		beam_region_bury(r, holder);
		return;
	}
	while (*tail)
		tail = &(*tail)->next;
	*tail = holder;
	holder->nslots = (uint32_t)(holder->extent.bytes / holder->extent.segment_bytes);
	holder->nfree = holder->nslots;
	r->nmade += holder->nslots;
	r->todo = (uint32_t)minus(r->todo, holder->nslots);
	say_pages(r, &holder->extent);
	signal_owner(r);
}

/* Makes one extent, which counts as `making` meanwhile. Called with the lock held, which is
 * released while it works. */
static int make_claimed(struct beam_region *r, const struct beam_region_opts *opts, uint64_t bytes,
			uint64_t pool, struct beam_holder *holder)
{
	uint32_t segments = (uint32_t)(bytes / opts->segment_bytes);

	r->claimed += segments;
	r->making += bytes;
	r->nmaking++;
	pthread_mutex_unlock(&r->lock);
	int err = make_extent(r, opts, bytes, pool, &holder->extent);

	pthread_mutex_lock(&r->lock);
	r->claimed -= segments;
	r->making -= bytes;
	r->nmaking--;
	pthread_cond_broadcast(&r->wake); /* for those who wait to see how much room is left */
	return err;
}

/* Called with the lock held, which is released while it works. */
static void grow_once(struct beam_region *r)
{
	struct beam_region_opts opts = r->opts;
	uint32_t epoch = r->epoch;
	uint64_t pool, most = beam_region_room(&opts, r->held, r->making, &pool);
	uint64_t bytes =
	    next_bytes(opts.segment_bytes, r->todo - r->claimed, r->held + r->making, most);
	char why[BEAM_TEXT_BYTES];

	if (r->nextents + r->nmaking >= BEAM_EXTENTS_MAX || bytes == 0) {
		if (r->nmaking || r->nburying) /* there may be more room when that is done */
			pthread_cond_wait(&r->wake, &r->lock);
		else
			fail_for_room(r, &opts);
		return;
	}
	struct beam_holder *holder =
	    BEAM_FAULT("region.holder") ? NULL : calloc(1, sizeof(*holder));
	int err = holder ? make_claimed(r, &opts, bytes, pool, holder) : -ENOMEM;

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

void beam_region_bury(struct beam_region *r, struct beam_holder *holder)
{
	r->dying += holder->extent.bytes;
	holder->next = r->dead;
	r->dead = holder;
}

/* Frees one dead extent. Called with the lock held, which is released while it works. */
static void bury_once(struct beam_region *r)
{
	struct beam_holder *holder = r->dead;
	uint64_t bytes = holder->extent.bytes;

	r->dead = holder->next;
	r->nburying++;
	pthread_mutex_unlock(&r->lock);
	(void)BEAM_FAULT("region.bury");
	beam_extent_drop(&holder->extent);
	free(holder);
	pthread_mutex_lock(&r->lock);
	r->nburying--;
	r->held -= bytes;
	r->dying -= bytes;
	r->nextents--;
	pthread_cond_broadcast(&r->wake);
}

void *beam_region_growth(void *arg)
{
	struct beam_region *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!atomic_load(&r->stop)) {
		if (r->dead)
			bury_once(r);
		else if (r->todo > r->claimed)
			grow_once(r);
		else
			pthread_cond_wait(&r->wake, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}
