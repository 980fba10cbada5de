/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shows the stages of a server's newest snapshot as bars: copy, flush, pulls; with rates and
 * estimated time left, if two views are far enough apart. Single-threaded.
 */
#ifndef BEAM_STAGES_H
#define BEAM_STAGES_H

#include <stdio.h>

#include "view.h"

/* A growing number and its rate of growth. */
struct beam_rate {
	uint64_t at_ms;
	double value;
	double per_ms; /* smoothed; 0: unknown */
};

#define BEAM_STAGE_PULLS 8 /* more would not fit on a screen */

struct beam_stage_pull {
	int64_t number; /* identifies it within its transport */
	char transport[8];
	struct beam_rate rate;
	uint64_t moved_ms; /* when its bytes last grew */
};

/* State kept from view to view; starts zeroed. */
struct beam_stages {
	char generation[48];
	struct beam_rate copy, flush;
	struct beam_stage_pull pulls[BEAM_STAGE_PULLS];
	uint32_t npulls;
};

/* Processes a view and prints its stages: copy, flush, and the running pulls. */
void beam_stages_print(struct beam_stages *stages, const struct beam_view *view, FILE *out);

#endif
