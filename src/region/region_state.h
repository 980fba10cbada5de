/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of the region, private to its two halves. region.c, on the loop's thread, keeps the
 * table of extents and their slots. region_growth.c has the threads that make and free extents,
 * which takes long; they only know byte counts.
 *
 *	grow: todo += segments       a thread: makes an extent, todo -= its segments, -> made, eventfd
 *	collect: made -> holders[]   trim: holders[] -> dead          a thread: frees dead
 */
#ifndef BEAM_REGION_STATE_H
#define BEAM_REGION_STATE_H

#include <pthread.h>

#include "extent.h"
#include "region.h"

/* The kernel finds and clears memory faster the more processors do it. */
#define BEAM_GROWTH_THREADS 4

#define SLOTS_MAX (BEAM_EXTENT_MAX_BYTES / BEAM_SEGMENT_ALIGN) /* of one extent */

/* An extent with its slots, or one on its way from or to a thread. */
struct beam_holder {
	struct beam_holder *next;
	struct beam_extent extent;
	uint32_t nslots, nfree;
	uint64_t busy[SLOTS_MAX / 64]; /* bit set: a generation holds the slot */
};

struct beam_region {
	/* loop's thread only */
	struct beam_holder *holders[BEAM_EXTENTS_MAX];
	uint32_t nnumbers; /* numbers below it may be in use */
	uint32_t next_number;
	uint32_t nfree, nslots;
	uint32_t want_free; /* of the last beam_region_grow */
	uint64_t bytes, page_bytes;
	char error[BEAM_TEXT_BYTES];
	/* shared */
	pthread_t threads[BEAM_GROWTH_THREADS];
	int nthreads;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int event;
	atomic_bool stop; /* set under the lock; read without it between segments */
	struct beam_region_opts opts;
	uint32_t todo;            /* segments to make, including those being made */
	uint32_t claimed;         /* segments that threads are making; unlike todo, not cancelled */
	uint32_t nmaking;         /* extents that consist of these */
	uint64_t making;          /* bytes of these */
	uint32_t nburying;        /* extents that threads are freeing */
	uint64_t dying;           /* bytes of these, and of the dead */
	uint32_t epoch;           /* what is made in an earlier one is not wanted any more */
	uint32_t nextents;        /* collected, made and dead */
	uint64_t held;            /* bytes of these */
	uint32_t nmade;           /* slots in `made` */
	struct beam_holder *made; /* oldest first */
	struct beam_holder *dead;
	int failure; /* of the last growth, until collected */
	char failure_text[BEAM_TEXT_BYTES];
	struct beam_page_cost page_cost;
	unsigned said; /* a bit for each enum beam_pages that has been logged */
};

/* Leaves an extent that is in `held` to the threads, which free it. Call it with the lock held. */
void beam_region_bury(struct beam_region *r, struct beam_holder *holder);

/* Body of a thread that makes and frees extents; `arg` is the region. Returns when `stop` is
 * set. */
void *beam_region_growth(void *arg);

/* Bytes that may be added to the `held` ones while `making` more are on their way; errs on the low
 * side then. *hugetlb is how many of them the hugetlb pool has. */
uint64_t beam_region_room(const struct beam_region_opts *opts, uint64_t held, uint64_t making,
			  uint64_t *hugetlb);

#endif
