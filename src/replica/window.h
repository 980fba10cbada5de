/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A bounded run of segments between the fetch and the feed, for an image that is fed while it is
 * fetched. Segment i may come in while i < fed + slots, in any order, and goes out in order; so
 * memory is bounded and the next one to feed always finds its slot. Two threads.
 */
#ifndef BEAM_WINDOW_H
#define BEAM_WINDOW_H

#include <stdbool.h>

#include "segments.h"

struct beam_window;

/* At least two segments, whatever memory_bytes says, and no more than is of use. `shared`: in a memfd
 * that cannot shrink, for the target's module to map, and mapped twice: `nslots` segments from any one
 * on lie in one piece. 0 or -errno. */
int beam_window_open(uint64_t memory_bytes, bool shared, struct beam_window **out);
/* Neither thread may use it any more. NULL-safe, clears the pointer. */
void beam_window_close(struct beam_window **window);

void beam_window_sink(struct beam_window *window, struct beam_segment_sink *out);
void beam_window_source(struct beam_window *window, struct beam_image_source *out);

/* Instead of the source's next, for a reader that looks at several segments before it releases them
 * (in order, by the source's release): segment `index`, not released yet. 1; 0: the image ends before
 * it; -ETIMEDOUT; or the code of the pull's failure. */
int beam_window_look(struct beam_window *window, uint32_t index, const uint8_t **base,
		     uint32_t *len_bytes, int timeout_ms);

struct beam_window_shape {
	int fd; /* the memfd of a shared window, still the window's */
	const uint8_t *base;
	uint32_t segment_bytes, nslots;
};

/* Of a window that has begun. */
void beam_window_shape(const struct beam_window *window, struct beam_window_shape *out);

/* True once segment 0 is there: the feed can begin. */
bool beam_window_ready(struct beam_window *window);
/* No segment comes after the ones that are in. */
void beam_window_finish(struct beam_window *window, uint32_t nsegments);
/* The feed's next returns `code`. Any thread; the first code stays. */
void beam_window_abort(struct beam_window *window, int code);

#endif
