/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The images that a relay holds. Two threads: the puller's fills an image, segment by segment, and
 * says which are no longer wanted; the loop's serves what is there and frees what nobody reads.
 */
#ifndef RELAY_STORE_H
#define RELAY_STORE_H

#include <pthread.h>
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
	bool unwanted; /* no new sessions; the loop ends those that are */
	uint32_t refs; /* the loop's: sessions */
};

struct relay_store {
	pthread_mutex_t lock; /* of all below, and of every image but its refs */
	int wake;             /* eventfd: the puller has changed something */
	struct beam_served *images;
};

/* 0 or -errno. */
int relay_store_open(struct relay_store *store);
/* Neither thread may use it any more. */
void relay_store_close(struct relay_store *store);

/* ---- the puller's thread ---------------------------------------------------------------------- */

/* 0 or -ENOMEM. The image lives until relay_image_unwanted. */
int relay_store_begin(struct relay_store *store, struct beam_gen gen, struct beam_served **out);
void relay_image_sink(struct beam_served *image, struct beam_segment_sink *out);
void relay_image_whole(struct beam_served *image, const struct beam_wire_complete *totals,
		       const struct beam_wire_vouched *vouched);
/* Not the caller's any more. */
void relay_image_unwanted(struct beam_served *image);

/* ---- the loop's thread ------------------------------------------------------------------------ */

/* 0 with *out; -EAGAIN: not here yet; -ERANGE past the image; BEAM_E_STALE. */
int relay_image_segment(struct beam_served *image, uint32_t index, struct relay_segment *out);
/* Frees it. It is unwanted, and has no sessions. */
void relay_image_free(struct beam_served *image);

#endif
