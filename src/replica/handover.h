/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The last two stages of a pull: wait until the target has applied (nearly) all of the stream, then
 * send it REPLICAOF with the primary's address. The feed keeps running until the target's link to
 * the primary is up.
 */
#ifndef BEAM_HANDOVER_H
#define BEAM_HANDOVER_H

#include "feed.h"
#include "fetch.h"
#include "redis.h"

struct beam_handover {
	struct beam_redis *primary, *to;
	const struct beam_redis_addr *primary_addr; /* as the target reaches it */
	const char *pull_id;                        /* of an automatic pull, else NULL */
	struct beam_feed *feed;
	struct beam_stream *stream; /* NULL: nothing follows the image */
	int64_t cut_offset;
	int64_t backlog_bytes; /* the primary's, 0: unknown */
	int timeout_ms;
	beam_fetch_tick_fn *tick; /* called between polls of the servers */
	void *tick_arg;
	/* Results. */
	bool told; /* REPLICAOF was accepted: the target follows the primary for good */
	int partial_resyncs, full_resyncs;
};

/* Waits until the target has loaded the image. Returns 0, or an error with its line in `error`. */
int beam_handover_wait_loaded(struct beam_handover *h, char *error);
/* Waits until the target has caught up closely, or, after one second, until the backlog surely
 * holds what is left. Returns 0; -ETIMEDOUT with both rates in the line when the target does not
 * get there within timeout_ms; or another error with its line. */
int beam_handover_catch_up(struct beam_handover *h, char *error);
/* Hands the target over to the primary and finds out whether it continued by partial or full
 * resync. Returns 0, or an error with its line in `error`. */
int beam_handover_run(struct beam_handover *h, char *error);

#endif
