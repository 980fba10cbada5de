/* SPDX-License-Identifier: BSD-3-Clause
 * Watching the target by INFO, in short intervals: a server tells nobody when it is in sync. */
#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "tell.h"

#define LOOK_EVERY_MS 10
#define NEAR_BYTES    65536
#define LINK_LEAST_MS 30000 /* the replica connects anew only once a second */

struct target_view {
	bool link_up, syncing, loading;
	char host[256];
	int64_t port;
	int64_t offset; /* applied */
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

/* Until the feed has news or the next look is due. */
static int pause_for_news(struct beam_handover *h)
{
	struct pollfd pfd = {.fd = beam_feed_fd(h->feed), .events = POLLIN};

	struct beam_feed_status status;

	if (poll(&pfd, 1, LOOK_EVERY_MS) < 0 && errno != EINTR)
		return -errno;
	beam_feed_status(h->feed, &status); /* clears the fd */
	return h->tick(h->tick_arg);
}

int beam_handover_wait_loaded(struct beam_handover *h, char *error)
{
	for (;;) {
		struct beam_feed_status status;
		struct target_view view;

		beam_feed_status(h->feed, &status);
		int rc = beam_feed_error(h->feed, error);

		if (rc || status.loaded)
			return rc;
		/* Only now: before, the target may block until we send it more, and an answer
		 * would be waited for in vain. */
		if (status.payload_sent) {
			rc = look(h, &view, error);
			if (rc || (view.link_up && view.port == beam_feed_port(h->feed)))
				return rc;
		}
		rc = pause_for_news(h);
		if (rc)
			return rc;
	}
}

static uint64_t near_bytes(const struct beam_handover *h)
{
	uint64_t quarter = (uint64_t)h->backlog_bytes / 4;

	return quarter && quarter < NEAR_BYTES ? quarter : NEAR_BYTES;
}

int beam_handover_catch_up(struct beam_handover *h, char *error)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)h->timeout_ms;

	(void)BEAM_FAULT("pull-catch-up");
	if (!h->stream)
		return 0;
	for (;;) {
		struct target_view view;
		int rc = look(h, &view, error);

		if (!rc)
			rc = beam_feed_error(h->feed, error);
		if (rc)
			return rc;
		int64_t received = h->cut_offset + (int64_t)beam_stream_received(h->stream);

		if (received - view.offset <= (int64_t)near_bytes(h) || beam_now_ms() >= deadline)
			return 0;
		rc = pause_for_news(h);
		if (rc)
			return rc;
	}
}

struct sync_counts {
	int64_t full, partial;
};

/* A primary that does not let us read them leaves the target's own view. */
static void count_syncs(struct beam_handover *h, struct sync_counts *out)
{
	if (beam_redis_info_int(h->primary, "stats", "sync_full", &out->full))
		out->full = 0;
	if (beam_redis_info_int(h->primary, "stats", "sync_partial_ok", &out->partial))
		out->partial = 0;
}

static int wait_link(struct beam_handover *h, bool *saw_sync, char *error)
{
	uint64_t patience =
	    (uint64_t)(h->timeout_ms > LINK_LEAST_MS ? h->timeout_ms : LINK_LEAST_MS);
	uint64_t deadline = beam_now_ms() + patience;

	for (;;) {
		struct target_view view;
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
		if (beam_now_ms() >= deadline)
			return beam_tell(error, -ETIMEDOUT,
					 "%s follows %s:%u now, but its link does not come up: see "
					 "its log (masterauth? the primary's address as seen from "
					 "there?)",
					 beam_redis_name(h->to), h->primary_addr->host,
					 h->primary_addr->port);
		rc = pause_for_news(h);
		if (rc)
			return rc;
	}
}

int beam_handover_run(struct beam_handover *h, char *error)
{
	struct sync_counts before, after;
	bool saw_sync = false;

	count_syncs(h, &before);
	beam_feed_release(h->feed);
	(void)BEAM_FAULT("pull-handover");
	int rc = beam_redis_command(h->to, NULL, "REPLICAOF %s %u", h->primary_addr->host,
				    h->primary_addr->port);

	if (rc)
		return beam_tell(error, rc, "%s: REPLICAOF: %s", beam_redis_name(h->to),
				 beam_redis_error(h->to));
	h->told = true;
	(void)BEAM_FAULT("pull-handed-over");
	rc = wait_link(h, &saw_sync, error);
	if (rc)
		return rc;
	count_syncs(h, &after);
	/* Other replicas may have come meanwhile; what the target was seen to do decides. */
	bool full = saw_sync || (after.full > before.full && after.partial == before.partial);

	h->full_resyncs = full;
	h->partial_resyncs = !full;
	return 0;
}
