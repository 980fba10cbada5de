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

/* What is kept from look to look; starts zeroed. */
struct beam_stages {
	char generation[48];
	struct beam_rate copy, flush, pulls;
	bool pulling;
	int64_t pulls_before;      /* pulls_total when the first of those that run began */
	int64_t pull_bytes_before; /* pull_bytes_total then */
	bool
	    pulls_from_the_start; /* nothing ran at the look before: sums are of these pulls only */
	bool looked;
};

/* Takes the view in and prints up to three lines; none without a generation. */
void beam_stages_print(struct beam_stages *stages, const struct beam_view *view, FILE *out);

#endif
