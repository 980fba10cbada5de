/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Draws progress bars. A line is composed in full and written with one call, so that it neither
 * flickers nor mixes with a hook's output.
 */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "clock.h"
#include "report.h"

#define TERMINAL_EVERY_MS 100
#define LINE_EVERY_MS     1000
#define BAR_CELLS         24
#define RATE_AFTER_MS     300 /* before that, and below 1 %, rates vary too much */

void beam_progress_init(struct beam_progress *progress, bool quiet)
{
	memset(progress, 0, sizeof(*progress));
	progress->quiet = quiet;
	progress->terminal = isatty(STDERR_FILENO) == 1;
}

static const char *amount(const struct beam_progress *progress, char *out, uint64_t value)
{
	if (progress->unit == BEAM_PROGRESS_BYTES)
		return beam_text_bytes(out, value);
	return beam_text_count(out, value);
}

void beam_progress_bar(char *out, size_t cap, uint64_t done, uint64_t total)
{
	char cells[BAR_CELLS + 1];
	unsigned percent = done >= total ? 100 : (unsigned)((double)done * 100 / (double)total);
	size_t full = percent * BAR_CELLS / 100;

	memset(cells, '#', full);
	memset(cells + full, '.', BAR_CELLS - full);
	cells[BAR_CELLS] = '\0';
	snprintf(out, cap, "[%s] %3u%%", cells, percent);
}

/* Writes the rate and the time left, or nothing while they are unknown:
 *   120 MiB/s  ETA 3.10 s */
static void put_rate(const struct beam_progress *progress, char *out, size_t cap)
{
	uint64_t elapsed = beam_now_ms() - progress->stage_began_ms;
	uint64_t moved = progress->done - progress->first_done;
	char rate[BEAM_TEXT_CAP], eta[BEAM_TEXT_CAP];
	double per_ms;

	out[0] = '\0';
	if (elapsed < RATE_AFTER_MS || progress->done <= progress->first_done)
		return;
	per_ms = (double)moved / (double)elapsed;
	if (progress->unit != BEAM_PROGRESS_PERCENT)
		snprintf(out, cap, "  %s%s/s", amount(progress, rate, (uint64_t)(per_ms * 1000)),
			 progress->unit == BEAM_PROGRESS_KEYS ? " keys" : "");
	if (progress->total > progress->done && moved > progress->total / 100) {
		double left_ms = (double)(progress->total - progress->done) / per_ms;
		size_t used = strlen(out);

		if (left_ms < 1e12)
			snprintf(out + used, cap - used, "  ETA %s",
				 beam_text_ms(eta, (uint64_t)left_ms));
	} else if (progress->total && progress->done >= progress->total) {
		size_t used = strlen(out);

		snprintf(out + used, cap - used, "  in %s", beam_text_ms(eta, elapsed));
	}
}

static size_t columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

static void draw(struct beam_progress *progress, bool last)
{
	char bar[BEAM_PROGRESS_BAR_CAP] = "", rate[80], number[BEAM_TEXT_CAP] = "", line[320];
	int len;

	progress->drawn_ms = beam_now_ms();
	if (progress->total)
		beam_progress_bar(bar, sizeof(bar), progress->done, progress->total);
	if (progress->unit != BEAM_PROGRESS_PERCENT)
		amount(progress, number, progress->done);
	put_rate(progress, rate, sizeof(rate));
	len = snprintf(line, sizeof(line), "%-9s %s%s%s%s%s%s%s", progress->stage, bar,
		       *bar && *number ? "  " : "", number,
		       progress->unit == BEAM_PROGRESS_KEYS ? " keys" : "", rate,
		       *progress->note ? "  " : "", progress->note);
	if (len < 0)
		return;
	if (!progress->terminal) {
		if (*bar || *number || *rate || *progress->note) /* a name alone tells nothing */
			fprintf(stderr, "%s\n", line);
		return;
	}
	/* Leave one column free: a full line would wrap and could not be redrawn. */
	fprintf(stderr, "\r%.*s\033[K%s", (int)columns() - 1, line, last ? "\n" : "");
	fflush(stderr);
}

void beam_progress_update(struct beam_progress *progress, const char *stage,
			  enum beam_progress_unit unit, uint64_t done, uint64_t total,
			  const char *note)
{
	uint64_t now = beam_now_ms();

	if (progress->quiet)
		return;
	if (strcmp(progress->stage, stage) != 0) {
		beam_progress_end(progress);
		snprintf(progress->stage, sizeof(progress->stage), "%s", stage);
		progress->stage_began_ms = now;
		progress->first_done = done;
		progress->drawn_ms = progress->terminal ? 0 : now;
	}
	progress->unit = unit;
	progress->done = done;
	progress->total = total;
	snprintf(progress->note, sizeof(progress->note), "%s", note ? note : "");
	if (now - progress->drawn_ms >= (progress->terminal ? TERMINAL_EVERY_MS : LINE_EVERY_MS))
		draw(progress, false);
}

void beam_progress_end(struct beam_progress *progress)
{
	if (progress->quiet || !progress->stage[0])
		return;
	if (progress->total) /* the last report came before the stage's end */
		progress->done = progress->total;
	draw(progress, true);
	progress->stage[0] = '\0';
}

void beam_progress_abandon(struct beam_progress *progress)
{
	if (!progress->quiet && progress->stage[0] && progress->terminal)
		fputc('\n', stderr);
	progress->stage[0] = '\0';
}
