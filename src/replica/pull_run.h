/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One pull while it runs; private to pull.c, pull_show.c, transfer.c and replicate.c.
 */
#ifndef BEAM_PULL_RUN_H
#define BEAM_PULL_RUN_H

#include "feed.h"
#include "feed_listen.h"
#include "fetch.h"
#include "guard.h"
#include "image_file.h"
#include "module_feed.h"
#include "pull.h"
#include "servers.h"
#include "stage.h"
#include "stream.h"
#include "ticket.h"
#include "window.h"

struct beam_pull {
	struct beam_pull_opts opts; /* defaults filled in */
	beam_pull_progress_fn *progress;
	void *progress_arg;
	struct beam_pull_result *result;
	char *error; /* result->error */
	uint64_t began_ms, shown_ms;
	enum beam_pull_stage stage;
	struct beam_pull_progress shown;

	struct beam_redis *from, *to;
	struct beam_server_facts source, target; /* of `from` and `to` */
	/* Whom the target follows in the end: `from`, or (then with a connection of its own) the
	 * primary of `from`. */
	struct beam_redis_addr lead_addr;
	struct beam_redis *lead;
	struct beam_server_facts lead_facts;
	struct beam_guard *guard;
	struct beam_target_state *state; /* the guard's */

	struct beam_ticket ticket;
	char avoid[BEAM_TICKET_AVOID_MAX][BEAM_RELAY_NAME_BYTES]; /* relays that failed */
	size_t navoid;
	bool unreached;  /* at the last try nothing answered at the image's port */
	bool to_blame;   /* the image's server is, for the last failure */
	bool verbs_lost; /* it failed: this pull goes on over TCP */
	struct beam_stream *stream;
	struct beam_fetch *fetch;
	struct beam_fetch_counts counts; /* of the fetch, as of the last tick */
	/* One of these, by target: */
	struct beam_window *window;
	struct beam_stage *staged;
	struct beam_image_file *file;
	bool by_module; /* the window is shared with the target's module */
	bool lowered;   /* the priority of this thread, and of those that it starts */
	struct beam_module_feed *module_feed;
	struct beam_feed_listen parking; /* of an automatic pull */
	struct beam_feed *feed;
};

/* ---- pull_show.c ------------------------------------------------------------------------- */

/* Shows progress if it is due. Always 0, so that it can end a tick. */
int beam_pull_show(struct beam_pull *pull);

/* ---- transfer.c --------------------------------------------------------------------------- */

/* BEAM_E_UNSUPPORTED when the build lacks the transport that was asked for. */
int beam_transfer_check(struct beam_pull *pull);
/* Whether the image may come from a relay: those speak TCP. */
bool beam_transfer_may_relay(const struct beam_pull *pull);
/* Opens the sink that this target wants, and the fetch. */
int beam_transfer_open(struct beam_pull *pull);
/* Ticket in hand: reads the whole image, verified, resuming what breaks. BEAM_E_STALE: the
 * generation is gone; if nothing was fed, another attempt may be made. */
int beam_transfer_run(struct beam_pull *pull);
void beam_transfer_close(struct beam_pull *pull);

/* ---- replicate.c -------------------------------------------------------------------------- */

/* Of an automatic pull: takes the target away from its primary, whose snapshot for it would be for
 * nothing, and keeps others from being continued from. It waits at an address that says nothing. */
int beam_replicate_park(struct beam_pull *pull);
/* The stream behind the cut. BEAM_E_STALE (no line): a younger image is needed. */
int beam_replicate_open_stream(struct beam_pull *pull);
/* For the transfer's tick: starts the feed when the window has its first segment, and tells the
 * failure of feed or stream. */
int beam_replicate_tick(struct beam_pull *pull);
/* The image is here: feed what is not fed yet, catch up, hand over. */
int beam_replicate_finish(struct beam_pull *pull);
/* Ends feed and stream. After a failure the target is put back. */
void beam_replicate_close(struct beam_pull *pull, int code);

#endif
