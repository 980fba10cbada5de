/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Progress on stderr: a bar redrawn in place on a terminal, otherwise one line a second; nothing
 * when quiet. Single-threaded.
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
	char stage[24]; /* "" before the first stage and after the end */
	char note[64];
	enum beam_progress_unit unit;
	uint64_t done, total;
	uint64_t stage_began_ms;
	uint64_t first_done; /* at the stage's beginning, so that rates are for this stage only */
	uint64_t drawn_ms;
};

#define BEAM_PROGRESS_BAR_CAP 40

/* Writes "[########................]  33%" to `out`. total must not be 0. */
void beam_progress_bar(char *out, size_t cap, uint64_t done, uint64_t total);

/* Starts without a stage; nothing is drawn when `quiet`. */
void beam_progress_init(struct beam_progress *progress, bool quiet);

/* Updates the stage's state. A new stage name ends the previous stage, which is then done: if it is
 * not, call beam_progress_abandon first. total 0: unknown. `note` (may be NULL) appears at the end of
 * the line. Draws at most ten times a second. */
void beam_progress_update(struct beam_progress *progress, const char *stage,
			  enum beam_progress_unit unit, uint64_t done, uint64_t total,
			  const char *note);

/* The stage is done: draws it with all of its total and ends the line. To be called before anything
 * else is printed. */
void beam_progress_end(struct beam_progress *progress);

/* Ends the line of a stage that came to nothing, leaving what is drawn. */
void beam_progress_abandon(struct beam_progress *progress);

#endif
