/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of a running pull; private to pull.c, pull_show.c, transfer.c and replicate.c.
 */
#ifndef BEAM_PULL_RUN_H
#define BEAM_PULL_RUN_H

#include "feed.h"
#include "feed_listen.h"
#include "fetch.h"
#include "guard.h"
#include "image_file.h"
#include "lacked.h"
#include "module_feed.h"
#include "pull.h"
#include "servers.h"
#include "stage.h"
#include "stream.h"
#include "ticket.h"
#include "window.h"

struct beam_pull {
	struct beam_pull_opts opts; /* with defaults filled in */
	beam_pull_progress_fn *progress;
	void *progress_arg;
	struct beam_pull_result *result;
	char *error; /* points to result->error */
	uint64_t began_ms, shown_ms;
	enum beam_pull_stage stage;
	struct beam_pull_progress shown;

	struct beam_redis *from, *to;
	struct beam_server_facts source, target; /* about `from` and `to` */
	/* The primary that the target follows in the end: `from` itself, or the primary of `from`,
	 * which then has a connection of its own. */
	struct beam_redis_addr lead_addr;
	struct beam_redis *lead;
	struct beam_server_facts lead_facts;
	char lacked[BEAM_MODULE_NAME_BYTES]; /* module of `from` that `to` lacks; "": none */
	struct beam_guard *guard;
	struct beam_target_state *state; /* shared with the guard */

	struct beam_ticket ticket;
	char avoid[BEAM_TICKET_AVOID_MAX][BEAM_RELAY_NAME_BYTES]; /* relays that failed */
	size_t navoid;
	bool unreached;  /* the last attempt got no answer on the image's port */
	bool refused;    /* it was a refusal */
	bool to_blame;   /* the image's server caused the last failure */
	bool verbs_lost; /* verbs failed: continue this pull over TCP */
	struct beam_stream *stream;
	struct beam_fetch *fetch;
	struct beam_fetch_counts counts; /* copy of the fetch's counts at the last tick */
	/* One of these three, depending on the kind of target: */
	struct beam_window *window;
	struct beam_stage *staged;
	struct beam_image_file *file;
	bool by_module; /* the window is shared with the target's module */
	bool lowered;   /* the priority of this thread and of those it starts */
	struct beam_module_feed *module_feed;
	struct beam_feed_listen parking; /* of an automatic pull */
	struct beam_feed *feed;
};

/* ---- pull_show.c ------------------------------------------------------------------------- */

/* Reports progress if it is due. Always returns 0, so that it can end a tick. */
int beam_pull_show(struct beam_pull *pull);

/* ---- transfer_sink.c ---------------------------------------------------------------------- */

/* Opens the sink for this kind of target, and the fetch. Returns 0 or an error with its line. */
int beam_transfer_open(struct beam_pull *pull);
/* Closes the fetch and the sink. May be called again. */
void beam_transfer_close(struct beam_pull *pull);

/* ---- transfer.c --------------------------------------------------------------------------- */

/* Returns 0, or BEAM_E_UNSUPPORTED when the build lacks the requested transport. */
int beam_transfer_check(struct beam_pull *pull);
/* True when the image may come from a relay; relays speak TCP only. */
bool beam_transfer_may_relay(const struct beam_pull *pull);
/* Reads and verifies the whole image, with the ticket that was issued; resumes after broken
 * connections. Returns 0, BEAM_E_STALE when the generation is gone (if nothing was fed, another
 * attempt may be made), or another error with its line. */
int beam_transfer_run(struct beam_pull *pull);

/* ---- replicate.c -------------------------------------------------------------------------- */

/* For an automatic pull: takes the target away from its primary, which would otherwise fork a
 * useless snapshot for it and keep others waiting for theirs. Until it is fed, the target connects
 * to an address that never answers. */
int beam_replicate_park(struct beam_pull *pull);
/* Opens the replication stream from the snapshot's offset on. Returns 0, BEAM_E_STALE (with no
 * line) when a younger image is needed, or an error with its line. */
int beam_replicate_open_stream(struct beam_pull *pull);
/* Called at each tick of the transfer: starts the feed when the window has its first segment, and
 * reports failures of the feed and the stream. */
int beam_replicate_tick(struct beam_pull *pull);
/* Called when the whole image has been fetched: feeds the rest, catches up, hands over. Returns 0
 * or an error with its line. */
int beam_replicate_finish(struct beam_pull *pull);
/* Stops the feed and the stream. After a failure (`code` not 0) the target's settings are
 * restored. */
void beam_replicate_close(struct beam_pull *pull, int code);

#endif
