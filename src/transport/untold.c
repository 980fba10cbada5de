/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An index moves from "not looked at" to "claimed, not sealed" to "told". The list of the middle
 * state is short, because it holds only what writers are working on.
 */
#include "untold.h"

#include <errno.h>
#include <stdlib.h>

#include "fault.h"

struct walk {
	struct untold *untold;
	const struct beam_serve_images *images;
	struct beam_served *image;
	const struct untold_visit *visit;
};

/* Returns 1 when told, 0 when not yet possible, or the image's error. */
static int tell(const struct walk *w, uint32_t index)
{
	struct beam_serve_segment segment;
	int err = w->images->segment(w->images->ctx, w->image, index, &segment);

	if (err)
		return err == -EAGAIN || err == -ERANGE ? 0 : err;
	return w->visit->tell(w->visit->arg, index, &segment);
}

static int remember(struct untold *untold, uint32_t index)
{
	if (untold->nunsealed == untold->unsealed_cap) {
		uint32_t cap = untold->unsealed_cap ? 2 * untold->unsealed_cap : 64;
		uint32_t *grown = BEAM_FAULT("tcp_unsealed")
				      ? NULL
				      : realloc(untold->unsealed, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		untold->unsealed = grown;
		untold->unsealed_cap = cap;
	}
	untold->unsealed[untold->nunsealed++] = index;
	return 0;
}

static int walk_unsealed(const struct walk *w)
{
	struct untold *untold = w->untold;

	for (uint32_t i = 0; i < untold->nunsealed;) {
		if (!w->visit->has_room(w->visit->arg))
			return 0;
		int told = tell(w, untold->unsealed[i]);

		if (told < 0)
			return told;
		if (told)
			untold->unsealed[i] = untold->unsealed[--untold->nunsealed];
		else
			i++;
	}
	return 1;
}

int untold_walk(struct untold *untold, const struct beam_serve_images *images,
		struct beam_served *image, const struct untold_visit *visit)
{
	const struct walk w = {untold, images, image, visit};
	int told = walk_unsealed(&w);

	if (told <= 0)
		return told;
	for (; untold->next_index < images->claimed(images->ctx, image); untold->next_index++) {
		if (!visit->has_room(visit->arg))
			return 0;
		told = tell(&w, untold->next_index);
		if (told == 0)
			told = remember(untold, untold->next_index);
		if (told < 0)
			return told;
	}
	return 1;
}

void untold_free(struct untold *untold)
{
	free(untold->unsealed);
	*untold = (struct untold){0};
}
