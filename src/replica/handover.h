/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The last two stages: until the target has applied (nearly) all of the stream, then REPLICAOF the
 * primary while the feed goes on, until the target's link is up.
 */
#ifndef BEAM_HANDOVER_H
#define BEAM_HANDOVER_H

#include "feed.h"
#include "fetch.h"
#include "redis.h"

struct beam_handover {
	struct beam_redis *primary, *to;
	const struct beam_redis_addr *primary_addr; /* as the target reaches it */
	const char *pull_id;                        /* of an automatic pull, may be NULL */
	struct beam_feed *feed;
	struct beam_stream *stream; /* may be NULL */
	int64_t cut_offset;
	int64_t backlog_bytes; /* of the primary, 0: unknown */
	int timeout_ms;
	beam_fetch_tick_fn *tick; /* called between looks at the servers */
	void *tick_arg;
	/* out */
	bool told; /* REPLICAOF was accepted: the target follows the primary for good */
	int partial_resyncs, full_resyncs;
};

/* Waits until the image is loaded. 0, or an error with its line. */
int beam_handover_wait_loaded(struct beam_handover *h, char *error);
/* Waits until little is left, or after a second until the backlog surely holds what is left. 0; or
 * -ETIMEDOUT with both rates in the line when the target does not get there in timeout_ms. */
int beam_handover_catch_up(struct beam_handover *h, char *error);
/* Hands over and finds out how the target went on. */
int beam_handover_run(struct beam_handover *h, char *error);

#endif
