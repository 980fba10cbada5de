/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The images that a relay holds, shared by two threads: the puller's thread fills an image, segment
 * by segment, and marks images that are no longer wanted; the loop's thread serves what is there
 * and frees images that nobody reads.
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
	uint32_t segment_bytes; /* 0 until the first segment's buffer was requested */
	struct relay_segment *segments;
	uint32_t nknown, cap;
	bool complete;
	struct beam_wire_complete totals;
	struct beam_wire_vouched totals_vouched;
	/* A newer image is complete: this one is freed once nobody reads it. */
	bool over;
	/* Until then, readers with a ticket for it may still arrive. */
	uint64_t tickets_ms;
	/* It will never be complete: the loop ends its sessions. `over` is set, too. */
	bool failed;
	uint32_t refs; /* number of sessions; used by the loop's thread only */
};

struct relay_store {
	/* Protects everything below, and everything in an image but its refs. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* an image was freed, or the puller must stop */
	int wake;               /* eventfd: the puller has changed something */
	/* The puller waits for room: keep nothing only because of tickets. */
	bool short_of_room;
	struct beam_served *images;
};

/* Returns 0 or -errno. */
int relay_store_open(struct relay_store *store);
/* Frees all images. Neither thread may use the store any more. */
void relay_store_close(struct relay_store *store);

/* ---- the puller's thread ---------------------------------------------------------------------- */

/* To be called before another image is begun: waits while two images that are over are still being
 * read, but no longer than half a second or until `stop`. Returns true if it had to wait: there may
 * still be no room then. */
bool relay_store_wait_for_room(struct relay_store *store, const atomic_bool *stop);
/* Adds an empty image. Returns 0 or -ENOMEM. The caller may use the image until relay_image_over or
 * relay_image_failed. */
int relay_store_begin(struct relay_store *store, struct beam_gen gen, struct beam_served **out);
/* Fills in the sink by which a fetch fills the image. */
void relay_image_sink(struct beam_served *image, struct beam_segment_sink *out);
/* Marks the image as complete, with its totals and the primary's signature of them. */
void relay_image_whole(struct beam_served *image, const struct beam_wire_complete *totals,
		       const struct beam_wire_vouched *vouched);
/* Gives the image up. The primary no longer sends readers to it; those that are reading it or on
 * their way may read it to the end. */
void relay_image_over(struct beam_served *image);
/* Gives the image up as incomplete. Nobody can read it to the end, so its sessions are ended. */
void relay_image_failed(struct beam_served *image);

/* ---- the loop's thread ------------------------------------------------------------------------ */

/* Gets a segment. Returns 0 with *out; -EAGAIN when it is not here yet; -ERANGE past the image's
 * end; BEAM_E_STALE when the image has failed. */
int relay_image_segment(struct beam_served *image, uint32_t index, struct relay_segment *out);
/* Frees an image that is over and has no sessions. */
void relay_image_free(struct beam_served *image);

#endif
