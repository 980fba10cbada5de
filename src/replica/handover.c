/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Watches the target by polling INFO at short intervals: a server sends no notice when it is in
 * sync.
 */
#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "target.h"
#include "tell.h"

#define LOOK_FIRST_US 250
#define LOOK_MOST_US  10000
#define NEAR_BYTES    65536
#define LINK_LEAST_MS 30000 /* a replica tries to connect only once a second */
#define ASK_AGAIN_MS  1000
#define ABSENT_MS     3000 /* a primary that is started again may be back by then */
/* What is written while the target switches its link must fit into the backlog besides the gap. */
#define CHANGE_MS     100
#define PATIENT_MS    1000
#define BACKLOG_LEAST (1 << 20) /* Redis' default, for a primary that does not tell */

struct target_view {
	bool link_up, syncing, loading;
	char host[256];
	int64_t port;
	int64_t offset; /* applied by the target */
};

static int64_t number(const char *info, const char *field)
{
	char text[32];

	return beam_redis_info_field(info, field, text, sizeof(text)) ? -1 : atoll(text);
}

static int look(struct beam_handover *h, struct target_view *view, char *error)
{
	redisReply *reply = NULL;
	char status[16];
	int rc = beam_redis_command(h->to, &reply, "INFO replication");

	if (rc)
		return beam_tell(error, rc, "%s: INFO: %s", beam_redis_name(h->to),
				 beam_redis_error(h->to));
	if (reply->type != REDIS_REPLY_STRING) {
		freeReplyObject(reply);
		return beam_tell(error, BEAM_E_PROTO, "%s: INFO did not answer with text",
				 beam_redis_name(h->to));
	}
	beam_redis_info_field(reply->str, "master_link_status", status, sizeof(status));
	view->link_up = strcmp(status, "up") == 0;
	view->syncing = number(reply->str, "master_sync_in_progress") == 1;
	view->offset = number(reply->str, "slave_repl_offset");
	view->port = number(reply->str, "master_port");
	beam_redis_info_field(reply->str, "master_host", view->host, sizeof(view->host));
	freeReplyObject(reply);
	return 0;
}

/* Waits until the feed has news or the next poll is due, then calls the tick. A small target is
 * ready within a millisecond, so the first polls follow each other closely. */
static int pause_for_news(struct beam_handover *h, uint32_t *pause_us)
{
	struct pollfd pfd = {.fd = beam_feed_fd(h->feed), .events = POLLIN};
	struct timespec pause = {.tv_nsec = *pause_us * 1000l};
	struct beam_feed_status status;

	if (ppoll(&pfd, 1, &pause, NULL) < 0 && errno != EINTR)
		return -errno;
	*pause_us = *pause_us < LOOK_MOST_US / 2 ? *pause_us * 2 : LOOK_MOST_US;
	beam_feed_status(h->feed, &status); /* clears the fd */
	return h->tick(h->tick_arg);
}

int beam_handover_wait_loaded(struct beam_handover *h, char *error)
{
	uint32_t pause_us = LOOK_FIRST_US;

	for (;;) {
		struct beam_feed_status status;
		struct target_view view = {0};

		beam_feed_status(h->feed, &status);
		int rc = beam_feed_error(h->feed, error);

		if (rc || status.loaded)
			return rc;
		/* Do not ask earlier: before that the target may block until we send it more, so
		 * that its answer would never come. */
		if (status.payload_sent) {
			rc = look(h, &view, error);
			if (rc || (view.link_up && view.port == beam_feed_port(h->feed)))
				return rc;
		}
		rc = pause_for_news(h, &pause_us);
		if (rc)
			return rc;
	}
}

struct catch_up {
	uint64_t began_ms;
	int64_t received, applied; /* offsets at the beginning */
};

struct gap {
	int64_t bytes;
	double written_per_ms, applied_per_ms;
};

static struct gap measure_gap(const struct catch_up *begin, int64_t received, int64_t applied)
{
	double ms = (double)(beam_now_ms() - begin->began_ms) + 1;

	return (struct gap){.bytes = received - applied,
			    .written_per_ms = (double)(received - begin->received) / ms,
			    .applied_per_ms = (double)(applied - begin->applied) / ms};
}

static bool fits_backlog(const struct beam_handover *h, const struct gap *gap)
{
	int64_t backlog = h->backlog_bytes ? h->backlog_bytes : BACKLOG_LEAST;

	return (double)gap->bytes + gap->written_per_ms * CHANGE_MS <= (double)backlog / 2;
}

/* For the first second wait until the gap is next to nothing. After that accept a gap that leaves
 * half of the backlog free at the end of the hand-over. */
static bool is_near(const struct beam_handover *h, const struct gap *gap, uint64_t elapsed_ms)
{
	int64_t backlog = h->backlog_bytes ? h->backlog_bytes : BACKLOG_LEAST;
	int64_t least = backlog / 4 < NEAR_BYTES ? backlog / 4 : NEAR_BYTES;

	if (gap->bytes <= least)
		return true;
	return elapsed_ms >= PATIENT_MS && fits_backlog(h, gap);
}

static int too_far(const struct beam_handover *h, const struct gap *gap, char *error)
{
	return beam_tell(
	    error, -ETIMEDOUT,
	    "%s is %lld KB behind after %d s: the primary writes %.1f MB/s and it applies %.1f "
	    "MB/s, and the backlog of %lld KB does not hold the rest (write less meanwhile, or "
	    "raise "
	    "repl-backlog-size or --handover-timeout)",
	    beam_redis_name(h->to), (long long)gap->bytes / 1024, h->timeout_ms / 1000,
	    gap->written_per_ms / 1000, gap->applied_per_ms / 1000,
	    (long long)(h->backlog_bytes ? h->backlog_bytes : BACKLOG_LEAST) / 1024);
}

static int64_t received_offset(const struct beam_handover *h)
{
	return h->cut_offset + (int64_t)beam_stream_received(h->stream);
}

/* True when the link to a target that has loaded has ended (CLIENT KILL, a limit of the target's
 * host) though nobody has sent the target elsewhere. What it lacks is left to the primary's backlog,
 * if that has room for it. If the primary's link has ended, the primary may be gone, or may have
 * written more than we know of. */
static bool only_link_lost(const struct beam_handover *h, const struct target_view *view,
			   const struct gap *gap)
{
	struct beam_feed_status status;
	char why[BEAM_REDIS_ERROR_BYTES];

	beam_feed_status(h->feed, &status);
	return status.loaded && status.code == BEAM_E_GONE && !beam_stream_error(h->stream, why) &&
	       view->port == beam_feed_port(h->feed) &&
	       strcmp(view->host, beam_feed_host(h->feed)) == 0 && view->offset >= h->cut_offset &&
	       fits_backlog(h, gap);
}

int beam_handover_catch_up(struct beam_handover *h, char *error)
{
	struct catch_up begin = {.began_ms = beam_now_ms()};
	uint32_t pause_us = LOOK_FIRST_US;

	(void)BEAM_FAULT("pull-catch-up");
	if (!h->stream)
		return 0;
	/* The target has loaded. From now on, one that takes this long to answer is not catching
	 * up. */
	beam_redis_set_timeout(h->to, h->timeout_ms);
	for (;;) {
		struct target_view view = {0};
		int rc = look(h, &view, error);

		if (rc)
			return rc;
		if (!begin.received) {
			begin.received = received_offset(h);
			begin.applied = view.offset;
		}
		struct gap gap = measure_gap(&begin, received_offset(h), view.offset);
		uint64_t elapsed_ms = beam_now_ms() - begin.began_ms;

		rc = beam_feed_error(h->feed, error);
		if (rc)
			return only_link_lost(h, &view, &gap) ? 0 : rc;
		if (is_near(h, &gap, elapsed_ms))
			return 0;
		if (elapsed_ms >= (uint64_t)h->timeout_ms)
			return too_far(h, &gap, error);
		rc = pause_for_news(h, &pause_us);
		if (rc)
			return rc;
	}
}

/* Asks the primary. One that answers late, or with an error, is there. The first question may have
 * been on its way when the primary ended, so only the second one, on a new connection, decides. */
static bool primary_is_gone(struct beam_handover *h)
{
	int64_t full;
	int rc = 0;

	for (int i = 0; i < 2; i++) {
		rc = beam_redis_info_int(h->primary, "stats", "sync_full", &full);
		if (beam_redis_was_gone(h->primary))
			return true;
		if (rc != -ECONNREFUSED && rc != -ECONNRESET && rc != -EPIPE && rc != BEAM_E_GONE)
			return false;
	}
	return true;
}

struct sync_counts {
	int64_t full, partial;
};

/* Reads the primary's counters. If it does not let us, they stay 0 and the target's own view
 * decides. */
static void count_syncs(struct beam_handover *h, struct sync_counts *out)
{
	if (beam_redis_info_int(h->primary, "stats", "sync_full", &out->full))
		out->full = 0;
	if (beam_redis_info_int(h->primary, "stats", "sync_partial_ok", &out->partial))
		out->partial = 0;
}

struct absence {
	uint64_t asked_ms, since_ms; /* since_ms 0: it was there */
};

/* True when the primary has been gone for a while. */
static bool stays_away(struct beam_handover *h, struct absence *absence)
{
	uint64_t now = beam_now_ms();

	if (now - absence->asked_ms < ASK_AGAIN_MS)
		return false;
	if (!primary_is_gone(h))
		absence->since_ms = 0;
	else if (!absence->since_ms)
		absence->since_ms = now;
	absence->asked_ms = beam_now_ms();
	return absence->since_ms && absence->asked_ms - absence->since_ms >= ABSENT_MS;
}

static int wait_link(struct beam_handover *h, bool *saw_sync, char *error)
{
	struct absence absence = {.asked_ms = beam_now_ms()};
	uint64_t patience =
	    (uint64_t)(h->timeout_ms > LINK_LEAST_MS ? h->timeout_ms : LINK_LEAST_MS);
	uint64_t deadline = beam_now_ms() + patience;
	uint32_t pause_us = LOOK_FIRST_US;

	for (;;) {
		struct target_view view = {0};
		int rc = look(h, &view, error);

		if (rc)
			return rc;
		if (view.link_up && view.port == h->primary_addr->port &&
		    strcmp(view.host, h->primary_addr->host) == 0)
			return 0;
		if (view.syncing) {
			*saw_sync = true;
			deadline = beam_now_ms() + patience;
		}
		if (stays_away(h, &absence))
			return beam_tell(
			    error, BEAM_E_GONE,
			    "%s has loaded and follows %s:%u now, which went away just "
			    "then: it syncs when that is back; to go on without it, send "
			    "REPLICAOF NO ONE to %s, which may lack the last writes",
			    beam_redis_name(h->to), h->primary_addr->host, h->primary_addr->port,
			    beam_redis_name(h->to));
		if (beam_now_ms() >= deadline)
			return beam_tell(error, -ETIMEDOUT,
					 "%s follows %s:%u now, but its link does not come up: see "
					 "its log (masterauth? the primary's address as seen from "
					 "there?)",
					 beam_redis_name(h->to), h->primary_addr->host,
					 h->primary_addr->port);
		rc = pause_for_news(h, &pause_us);
		if (rc)
			return rc;
	}
}

int beam_handover_run(struct beam_handover *h, char *error)
{
	struct sync_counts before, after;
	bool saw_sync = false;

	(void)BEAM_FAULT("pull-handover-check");
	if (primary_is_gone(h))
		return beam_tell(
		    error, BEAM_E_GONE,
		    "%s:%u went away before %s, which has loaded, was sent to it: pull "
		    "again when it is back, or from its successor (--force, if keys are "
		    "left in %s)",
		    h->primary_addr->host, h->primary_addr->port, beam_redis_name(h->to),
		    beam_redis_name(h->to));
	count_syncs(h, &before);
	beam_feed_release(h->feed);
	(void)BEAM_FAULT("pull-handover");
	int rc =
	    beam_target_follow(h->to, h->primary_addr->host, h->primary_addr->port, h->pull_id);

	if (rc)
		return beam_tell(error, rc, "%s: REPLICAOF: %s", beam_redis_name(h->to),
				 beam_redis_error(h->to));
	h->told = true;
	(void)BEAM_FAULT("pull-handed-over");
	rc = wait_link(h, &saw_sync, error);
	if (rc)
		return rc;
	count_syncs(h, &after);
	/* Other replicas may have synced in the meantime; what we saw the target do takes
	 * precedence. */
	bool full = saw_sync || (after.full > before.full && after.partial == before.partial);

	h->full_resyncs = full;
	h->partial_resyncs = !full;
	return 0;
}
