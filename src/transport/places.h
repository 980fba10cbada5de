/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Limits how many sessions a server serves: at most rdbeam.max-pulls at once; a number of others
 * wait in order of arrival; the rest is refused. A session embeds its `struct place`. Used on the
 * loop's thread.
 */
#ifndef BEAM_PLACES_H
#define BEAM_PLACES_H

#include <stdbool.h>

#include "server.h"

struct place {
	struct place *next; /* the next one in the queue */
	uint64_t number;    /* sequence number, given when served */
	uint64_t since_ms;  /* when it was served, beam_now_ms() */
	enum { PLACE_NONE, PLACE_WAITING, PLACE_SERVED } state;
};

struct places {
	struct place *waiting; /* the first one is served next */
	uint32_t nwaiting, nserved, max;
	uint64_t last_number;
};

/* Returns 0 when one more session may wait, in addition to `coming` others that will; otherwise
 * BEAM_E_BUSY with the line in `text`. */
int places_have_room(const struct places *places, uint32_t coming, char text[BEAM_TEXT_BYTES]);
/* Appends to the queue. places_next serves it, at once if there is a free place. */
void places_wait(struct places *places, struct place *place);
/* Gives a free place to the first in the queue and returns it; NULL when there is no free place or
 * nobody waits. */
struct place *places_next(struct places *places);
/* Removes from the queue or gives up the place; does nothing for one that has neither. */
void places_leave(struct places *places, struct place *place);

#endif
