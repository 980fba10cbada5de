/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A bounded ring of segments between the fetch and the feed, for an image that is fed while it is
 * still being fetched. Segment i may arrive, in any order, while i < fed + slots; segments leave in
 * order. So memory is bounded, and the next segment to feed always finds a slot. Used by two
 * threads, one on each side.
 */
#ifndef BEAM_WINDOW_H
#define BEAM_WINDOW_H

#include <stdbool.h>

#include "rdbeam/image_format.h"
#include "segments.h"

struct beam_window;

/* Opens a window for image `gen`; its memory is allocated when the sink begins. It has at least two slots, whatever
 * memory_bytes says, and no more than are useful. `shared`: use a memfd that cannot shrink, for the
 * target's module to map; it is mapped twice in a row, so that `nslots` segments from any slot on
 * are contiguous. Returns 0 or -errno. */
int beam_window_open(uint64_t memory_bytes, bool shared, const struct beam_gen *gen,
		     struct beam_window **out);
/* Neither thread may use it any more. Accepts NULL; clears the pointer. */
void beam_window_close(struct beam_window **window);

/* Fill in the functions of the sink, for the fetch's thread, and of the source, for the feed's. */
void beam_window_sink(struct beam_window *window, struct beam_segment_sink *out);
/* `whole`: the filler is sent, too, for a target that makes a file of it. */
void beam_window_source(struct beam_window *window, bool whole, struct beam_image_source *out);

/* An alternative to the source's `next`, for a reader that looks at several segments before it
 * releases them (in order, with the source's `release`): gets segment `index`, which must not be
 * released yet. Returns 1; 0 when the image ends before it; -ETIMEDOUT; or the code of the pull's
 * failure. */
int beam_window_look(struct beam_window *window, uint32_t index, const uint8_t **base,
		     uint32_t *len_bytes, int timeout_ms);

struct beam_window_shape {
	int fd; /* memfd of a shared window; the window owns it */
	const uint8_t *base;
	uint32_t segment_bytes, nslots;
	struct beam_gen gen;
};

/* To be called once the window has begun. */
void beam_window_shape(const struct beam_window *window, struct beam_window_shape *out);

/* True once segment 0 has arrived: the feed can start. */
bool beam_window_ready(struct beam_window *window);
/* Tells the window the total: the image ends after nsegments segments. */
void beam_window_finish(struct beam_window *window, uint32_t nsegments);
/* Makes the source return `code` from now on. Any thread; the first code is kept. */
void beam_window_abort(struct beam_window *window, int code);

#endif
