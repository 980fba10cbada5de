/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Computes rates from one view to the next and prints the bars.
 */
#include "stages.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "progress.h"
#include "report.h"

#define LOOK_MS         200 /* shorter intervals give no useful rate */
#define STALLED_MS      10000
#define STALLED_RDMA_MS 30000 /* readers report every 20 seconds */

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

/* Prints the rate and the time left, as far as they are known:
 *   1.20 GiB/s  ETA 3.10 s */
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
			return; /* for an image that is kept in memory only */
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

static struct beam_stage_pull *find_pull(struct beam_stages *stages, const char *transport,
					 int64_t number)
{
	for (uint32_t i = 0; i < stages->npulls; i++)
		if (stages->pulls[i].number == number &&
		    strcmp(stages->pulls[i].transport, transport) == 0)
			return &stages->pulls[i];
	return NULL;
}

/* Between two reports of a reader by RDMA nothing is known, which is different from a rate of
 * zero. */
static bool stalled(const struct beam_stage_pull *pull)
{
	uint64_t patience_ms = strcmp(pull->transport, "verbs") ? STALLED_MS : STALLED_RDMA_MS;

	return beam_now_ms() - pull->moved_ms >= patience_ms;
}

static void grow_pull(struct beam_stage_pull *pull, double bytes)
{
	uint64_t now = beam_now_ms();

	if (!pull->rate.at_ms || bytes != pull->rate.value) {
		grow(&pull->rate, bytes);
		pull->moved_ms = now;
	}
	if (stalled(pull))
		pull->rate.per_ms = 0;
}

static const char *pull_text(const redisReply *map, const char *field)
{
	const redisReply *value = beam_reply_field(map, field);

	return value && value->str ? value->str : "";
}

static int64_t pull_number(const redisReply *map, const char *field)
{
	const redisReply *value = beam_reply_field(map, field);

	return value && value->type == REDIS_REPLY_INTEGER ? value->integer : 0;
}

/* Prints one pull:
 *   10.0.0.5   [####....]  37%  tcp  1.20 GiB  820 MiB/s  ETA 2.70 s */
static void put_pull(const struct beam_stage_pull *pull, const redisReply *map, FILE *out)
{
	double bytes = (double)pull_number(map, "bytes");
	double image = (double)pull_number(map, "image_bytes");
	char bar[BEAM_PROGRESS_BAR_CAP] = "", text[BEAM_TEXT_CAP];

	if (image > 0)
		beam_progress_bar(bar, sizeof(bar), (uint64_t)(bytes < image ? bytes : image),
				  (uint64_t)image);
	fprintf(out, "  %-15s %s%s%s  %s", pull_text(map, "peer"), bar, *bar ? "  " : "",
		pull->transport, beam_text_bytes(text, (uint64_t)bytes));
	if (stalled(pull))
		fprintf(out, "  nothing for %s",
			beam_text_ms(text, beam_now_ms() - pull->moved_ms));
	put_rate(&pull->rate, image > bytes ? image - bytes : 0, out);
	fputc('\n', out);
}

/* Prints a line for each pull that RDBEAM.STATUS lists; it lists the oldest ones. */
static void put_pulls(struct beam_stages *stages, const struct beam_view *view, FILE *out)
{
	const redisReply *pulls = beam_reply_field(view->status, "pulls");
	int64_t active = beam_view_status_number(view, "pulls_active", 0);
	int64_t waiting = beam_view_status_number(view, "pulls_waiting", 0);
	struct beam_stages next = {0};
	size_t n = pulls && pulls->type == REDIS_REPLY_ARRAY ? pulls->elements : 0;

	if (active || waiting)
		fprintf(out, "pulls      %" PRId64 " active, %" PRId64 " waiting\n", active,
			waiting);
	for (size_t i = 0; i < n && i < BEAM_STAGE_PULLS; i++) {
		const redisReply *map = pulls->element[i];
		struct beam_stage_pull *pull = &next.pulls[next.npulls++];
		const struct beam_stage_pull *before =
		    find_pull(stages, pull_text(map, "transport"), pull_number(map, "number"));

		if (before)
			*pull = *before;
		pull->number = pull_number(map, "number");
		snprintf(pull->transport, sizeof(pull->transport), "%s",
			 pull_text(map, "transport"));
		grow_pull(pull, (double)pull_number(map, "bytes"));
		put_pull(pull, map, out);
	}
	if (active > next.npulls && next.npulls > 0)
		fprintf(out, "  and %" PRId64 " more\n", active - next.npulls);
	memcpy(stages->pulls, next.pulls, sizeof(stages->pulls));
	stages->npulls = next.npulls;
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
}
