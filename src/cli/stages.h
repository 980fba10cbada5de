/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The stages of a server's newest snapshot as bars: copy, flush, pulls; with rates and what is left
 * of the time where two looks lie far enough apart. One thread.
 */
#ifndef BEAM_STAGES_H
#define BEAM_STAGES_H

#include <stdio.h>

#include "view.h"

/* One number that grows, and how fast. */
struct beam_rate {
	uint64_t at_ms;
	double value;
	double per_ms; /* smoothed; 0: not known */
};

#define BEAM_STAGE_PULLS 8 /* more would not be one screen */

struct beam_stage_pull {
	int64_t number; /* with the transport, its identity */
	char transport[8];
	struct beam_rate rate;
	uint64_t moved_ms; /* when its bytes were seen to grow */
};

/* What is kept from look to look; starts zeroed. */
struct beam_stages {
	char generation[48];
	struct beam_rate copy, flush;
	struct beam_stage_pull pulls[BEAM_STAGE_PULLS];
	uint32_t npulls;
};

/* Takes the view in and prints its stages: copy and flush, and the pulls that run. */
void beam_stages_print(struct beam_stages *stages, const struct beam_view *view, FILE *out);

#endif
