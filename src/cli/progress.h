/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Progress on stderr: a bar redrawn in place on a terminal, else a line a second; nothing when
 * quiet. One thread.
 */
#ifndef BEAM_PROGRESS_H
#define BEAM_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum beam_progress_unit {
	BEAM_PROGRESS_BYTES,
	BEAM_PROGRESS_KEYS,
	BEAM_PROGRESS_PERCENT,
};

struct beam_progress {
	bool quiet;
	bool terminal;
	char stage[24]; /* "" before the first and after the end */
	char note[64];
	enum beam_progress_unit unit;
	uint64_t done, total;
	uint64_t stage_began_ms;
	uint64_t first_done; /* at the stage's begin, so that rates are of this stage */
	uint64_t drawn_ms;
};

#define BEAM_PROGRESS_BAR_CAP 40

/* "[########................]  33%" into `out`. total is not 0. */
void beam_progress_bar(char *out, size_t cap, uint64_t done, uint64_t total);

void beam_progress_init(struct beam_progress *progress, bool quiet);

/* The stage's state now. A new stage name ends the line of the one before. total 0: not known.
 * `note` (may be NULL) stands at the line's end. Draws at most ten times a second. */
void beam_progress_update(struct beam_progress *progress, const char *stage,
			  enum beam_progress_unit unit, uint64_t done, uint64_t total,
			  const char *note);

/* Draws the last state and ends the line. Call before anything else is printed. */
void beam_progress_end(struct beam_progress *progress);

/* Ends the line after a failure: what is drawn stays as it is. */
void beam_progress_abandon(struct beam_progress *progress);

#endif
