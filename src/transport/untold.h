/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which segments of an image a session has not told its reader of. The walk looks at the indices
 * that were claimed but not sealed last time, then at those claimed since: its work is by what is
 * new, not by the size of the image. On the loop's thread.
 */
#ifndef BEAM_UNTOLD_H
#define BEAM_UNTOLD_H

#include <stdbool.h>

#include "server.h"

/* All below next_index were told but those in `unsealed`. Starts zeroed. */
struct untold {
	uint32_t next_index;
	uint32_t *unsealed;
	uint32_t nunsealed, unsealed_cap;
};

struct untold_visit {
	void *arg;
	bool (*has_room)(void *arg); /* for one more */
	/* 1 told; 0 not now, it is asked again at the next walk; or an error. */
	int (*tell)(void *arg, uint32_t index, const struct beam_serve_segment *segment);
};

/* Visits what is sealed and was not told. 1: that was all there is for now; 0: no room, to be
 * called again; or the image's error, -ENOMEM. */
int untold_walk(struct untold *untold, const struct beam_serve_images *images,
		struct beam_served *image, const struct untold_visit *visit);
void untold_free(struct untold *untold);

#endif
