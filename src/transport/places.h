/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A server's places: at most rdbeam.max-pulls sessions are served at once, some more wait in the
 * order in which they came, the rest is refused. A session embeds its `struct place`. On the loop's
 * thread.
 */
#ifndef BEAM_PLACES_H
#define BEAM_PLACES_H

#include <stdbool.h>

#include "server.h"

struct place {
	struct place *next; /* behind it in the queue */
	uint64_t number;    /* counts those that were given a place */
	uint64_t since_ms;  /* when it was */
	enum { PLACE_NONE, PLACE_WAITING, PLACE_SERVED } state;
};

struct places {
	struct place *waiting; /* the first is the next to be served */
	uint32_t nwaiting, nserved, max;
	uint64_t last_number;
};

/* 0 when one more may wait besides `coming` that will; or BEAM_E_BUSY with the line in `text`. */
int places_have_room(const struct places *places, uint32_t coming, char text[BEAM_TEXT_BYTES]);
/* To the end of the queue. places_next gives it its place, at once where one is free. */
void places_wait(struct places *places, struct place *place);
/* Gives a free place to the first in the queue: that one, or NULL. */
struct place *places_next(struct places *places);
/* Out of the queue or from its place; nothing for one that has neither. */
void places_leave(struct places *places, struct place *place);

#endif
