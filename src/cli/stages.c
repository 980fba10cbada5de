/* SPDX-License-Identifier: BSD-3-Clause */
#include "stages.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "progress.h"
#include "report.h"

#define LOOK_MS 200 /* looks closer together say nothing of a rate */

static void grow(struct beam_rate *rate, double value)
{
	uint64_t now = beam_now_ms();
	double per_ms;

	if (rate->at_ms && now - rate->at_ms < LOOK_MS)
		return;
	if (rate->at_ms && value >= rate->value) {
		per_ms = (value - rate->value) / (double)(now - rate->at_ms);
		rate->per_ms = rate->per_ms > 0 ? (rate->per_ms + per_ms) / 2 : per_ms;
	} else {
		rate->per_ms = 0;
	}
	rate->at_ms = now;
	rate->value = value;
}

static void put_bar(const char *name, double done, double total, FILE *out)
{
	char bar[BEAM_PROGRESS_BAR_CAP];

	beam_progress_bar(bar, sizeof(bar), done < total ? (uint64_t)done : (uint64_t)total,
			  (uint64_t)total);
	fprintf(out, "%-10s %s", name, bar);
}

/* "  1.20 GiB/s  ETA 3.10 s", as far as it is known. */
static void put_rate(const struct beam_rate *rate, double left, FILE *out)
{
	char text[BEAM_TEXT_CAP];

	if (rate->per_ms <= 0)
		return;
	fprintf(out, "  %s/s", beam_text_bytes(text, (uint64_t)(rate->per_ms * 1000)));
	if (left > 0 && left / rate->per_ms < 1e12)
		fprintf(out, "  ETA %s", beam_text_ms(text, (uint64_t)(left / rate->per_ms)));
}

static double number(const struct beam_view *view, const char *field)
{
	return (double)beam_view_status_number(view, field, 0);
}

static void put_done(double ms, double mb_per_s, FILE *out)
{
	char text[BEAM_TEXT_CAP];

	fprintf(out, "  in %s at %.0f MB/s\n", beam_text_ms(text, (uint64_t)ms), mb_per_s);
}

static void put_copy(struct beam_stages *stages, const struct beam_view *view, bool copying,
		     FILE *out)
{
	double bytes = number(view, "snapshot_bytes");
	double percent = copying ? number(view, "progress_pct") : 100;

	put_bar("copy", percent, 100, out);
	if (!copying) {
		put_done(number(view, "snapshot_copy_ms"), number(view, "snapshot_copy_mb_per_s"),
			 out);
		return;
	}
	grow(&stages->copy, bytes);
	put_rate(&stages->copy, percent > 0 ? bytes * (100 - percent) / percent : 0, out);
	fputc('\n', out);
}

static void put_flush(struct beam_stages *stages, const struct beam_view *view, bool flushing,
		      FILE *out)
{
	double bytes = number(view, "snapshot_bytes");

	if (!flushing) {
		if (number(view, "flush_ms") <= 0)
			return; /* of an image that is kept in memory only */
		put_bar("flush", 100, 100, out);
		put_done(number(view, "flush_ms"), number(view, "flush_mb_per_s"), out);
		return;
	}
	double flushed = bytes * number(view, "progress_pct") / 100;

	put_bar("flush", flushed, bytes, out);
	grow(&stages->flush, flushed);
	put_rate(&stages->flush, bytes - flushed, out);
	fputc('\n', out);
}

/* All pulls that run together: how much of their images they have. That is known if none of them
 * ran already when this program looked first. */
static void put_pulls(struct beam_stages *stages, const struct beam_view *view, FILE *out)
{
	int64_t active = beam_view_status_number(view, "pulls_active", 0);
	int64_t waiting = beam_view_status_number(view, "pulls_waiting", 0);
	int64_t total = beam_view_status_number(view, "pulls_total", 0);
	int64_t sent = beam_view_status_number(view, "pull_bytes_total", 0);

	if (!active || !stages->pulling) {
		if (active)
			stages->pulls_from_the_start = stages->looked;
		else
			stages->pulls_before = total, stages->pull_bytes_before = sent;
		memset(&stages->pulls, 0, sizeof(stages->pulls));
	}
	stages->pulling = active > 0;
	if (!active)
		return;
	double bytes = number(view, "snapshot_bytes") * (double)(total - stages->pulls_before);
	double done = (double)(sent - stages->pull_bytes_before);
	bool known = stages->pulls_from_the_start && bytes > 0;

	grow(&stages->pulls, (double)sent);
	if (known)
		put_bar("pulls", done, bytes, out);
	else
		fprintf(out, "%-10s", "pulls");
	fprintf(out, "%s%" PRId64 " active", known ? "  " : " ", active);
	if (waiting)
		fprintf(out, ", %" PRId64 " waiting", waiting);
	put_rate(&stages->pulls, known ? bytes - done : 0, out);
	fputc('\n', out);
}

void beam_stages_print(struct beam_stages *stages, const struct beam_view *view, FILE *out)
{
	const char *generation = beam_view_status(view, "generation");
	const char *state = beam_view_status(view, "state");
	bool copying = strcmp(state, "copying") == 0;

	if (strcmp(stages->generation, generation) != 0) {
		snprintf(stages->generation, sizeof(stages->generation), "%s", generation);
		memset(&stages->copy, 0, sizeof(stages->copy));
		memset(&stages->flush, 0, sizeof(stages->flush));
	}
	if (*generation && strcmp(state, "failed") != 0) {
		put_copy(stages, view, copying, out);
		if (!copying)
			put_flush(stages, view, strcmp(state, "flushing") == 0, out);
	}
	put_pulls(stages, view, out);
	stages->looked = true;
}
