/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The images that a relay holds. Two threads: the puller's fills an image, segment by segment, and
 * says which are no longer wanted; the loop's serves what is there and frees what nobody reads.
 */
#ifndef RELAY_STORE_H
#define RELAY_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "segments.h"
#include "server.h"

struct relay_store;

struct relay_segment {
	uint8_t *base; /* NULL: not here yet */
	uint32_t len_bytes;
	uint64_t crc;
	struct beam_wire_vouched vouched;
};

struct beam_served {
	struct beam_served *next;
	struct relay_store *store;
	struct beam_gen gen;
	uint32_t segment_bytes; /* 0 until the first segment's room was asked for */
	struct relay_segment *segments;
	uint32_t nknown, cap;
	bool complete;
	struct beam_wire_complete totals;
	struct beam_wire_vouched totals_vouched;
	bool over;           /* a newer one is whole: it goes when nobody reads it any more */
	uint64_t tickets_ms; /* until then readers with a ticket for it may still come */
	bool failed;         /* it will never be whole: the loop ends its sessions; over, too */
	uint32_t refs;       /* the loop's: sessions */
};

struct relay_store {
	pthread_mutex_t lock;   /* of all below, and of every image but its refs */
	pthread_cond_t changed; /* an image is freed, or the puller is to end */
	int wake;               /* eventfd: the puller has changed something */
	bool short_of_room;     /* the puller waits: nothing is kept for tickets alone */
	struct beam_served *images;
};

/* 0 or -errno. */
int relay_store_open(struct relay_store *store);
/* Neither thread may use it any more. */
void relay_store_close(struct relay_store *store);

/* ---- the puller's thread ---------------------------------------------------------------------- */

/* Before another image is begun: waits while two that are over are still read, or until `stop`, or for half
 * a second. Whether it had to wait: then there may be no room yet. */
bool relay_store_wait_for_room(struct relay_store *store, const atomic_bool *stop);
/* 0 or -ENOMEM. The image lives until relay_image_over or relay_image_failed. */
int relay_store_begin(struct relay_store *store, struct beam_gen gen, struct beam_served **out);
void relay_image_sink(struct beam_served *image, struct beam_segment_sink *out);
void relay_image_whole(struct beam_served *image, const struct beam_wire_complete *totals,
		       const struct beam_wire_vouched *vouched);
/* Not the caller's any more. The primary sends no more readers to it: those that are on their way or
 * there may read it to its end. */
void relay_image_over(struct beam_served *image);
/* Not the caller's any more, and no one's: it cannot be read to its end. */
void relay_image_failed(struct beam_served *image);

/* ---- the loop's thread ------------------------------------------------------------------------ */

/* 0 with *out; -EAGAIN: not here yet; -ERANGE past the image; BEAM_E_STALE. */
int relay_image_segment(struct beam_served *image, uint32_t index, struct relay_segment *out);
/* Frees it. It is over, and has no sessions. */
void relay_image_free(struct beam_served *image);

#endif
