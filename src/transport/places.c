/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A queue and two counters.
 */
#include "places.h"

#include <stdio.h>

#include "clock.h"
#include "rdbeam/error.h"

#define WAITING_PER_PLACE 4

int places_have_room(const struct places *places, uint32_t coming, char text[BEAM_TEXT_BYTES])
{
	uint32_t most = WAITING_PER_PLACE * places->max;
	uint32_t ahead = places->nwaiting + coming;
	uint32_t unused = places->nserved < places->max ? places->max - places->nserved : 0;

	if (ahead < most + unused)
		return 0;
	snprintf(text, BEAM_TEXT_BYTES,
		 "%u pulls run and %u wait: try later, or raise rdbeam.max-pulls on the primary",
		 places->nserved, ahead);
	return BEAM_E_BUSY;
}

void places_wait(struct places *places, struct place *place)
{
	struct place **at = &places->waiting;

	while (*at)
		at = &(*at)->next;
	*at = place;
	place->next = NULL;
	place->state = PLACE_WAITING;
	places->nwaiting++;
}

static void unqueue(struct places *places, struct place *place)
{
	struct place **at = &places->waiting;

	while (*at != place)
		at = &(*at)->next;
	*at = place->next;
	places->nwaiting--;
}

struct place *places_next(struct places *places)
{
	struct place *first = places->waiting;

	if (!first || places->nserved >= places->max)
		return NULL;
	unqueue(places, first);
	first->state = PLACE_SERVED;
	first->number = ++places->last_number;
	first->since_ms = beam_now_ms();
	places->nserved++;
	return first;
}

void places_leave(struct places *places, struct place *place)
{
	if (place->state == PLACE_WAITING)
		unqueue(places, place);
	else if (place->state == PLACE_SERVED)
		places->nserved--;
	place->state = PLACE_NONE;
}
