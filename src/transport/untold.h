/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tracks which segments of an image a session has not announced to its reader yet. A walk looks at
 * the indexes that were claimed but not sealed last time, then at those claimed since: its cost
 * depends on what is new, not on the size of the image. Used on the loop's thread.
 */
#ifndef BEAM_UNTOLD_H
#define BEAM_UNTOLD_H

#include <stdbool.h>

#include "server.h"

/* All indexes below next_index were told, except those in `unsealed`. Starts zeroed. */
struct untold {
	uint32_t next_index;
	uint32_t *unsealed;
	uint32_t nunsealed, unsealed_cap;
};

struct untold_visit {
	void *arg;
	bool (*has_room)(void *arg); /* for one more announcement */
	/* Announces a segment. Returns 1 when done; 0 when not possible now (it is called again at
	 * the next walk); or an error. */
	int (*tell)(void *arg, uint32_t index, const struct beam_serve_segment *segment);
};

/* Visits the segments that are sealed and were not told yet. Returns 1 when none is left; 0
 * when there was no room (call again); or the image's error, or -ENOMEM. */
int untold_walk(struct untold *untold, const struct beam_serve_images *images,
		struct beam_served *image, const struct untold_visit *visit);
/* Frees the list and starts over. May be called again. */
void untold_free(struct untold *untold);

#endif
