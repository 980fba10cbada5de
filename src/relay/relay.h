/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A relay: pulls each image of a primary and serves it on, so that the primary sends it to few. And a
 * follower: keeps each image as a file. Both run until they are told to end.
 */
#ifndef BEAM_RELAY_H
#define BEAM_RELAY_H

#include "pull.h"

/* What a relay's and a follower's user needs at the primary: a puller's, and one more (docs/security.md). */
#define BEAM_RELAY_RIGHTS "+info +psync +replconf +rdbeam.ticket +rdbeam.relay"

/* An image is here, or (code not 0) could not be had, with the line in result->error. `file`: where, for
 * a follower. From one thread at a time. */
typedef void beam_relay_report_fn(void *arg, int code, const struct beam_pull_result *result,
				  const char *file);

struct beam_relay_opts {
	struct beam_redis_addr from;
	char listen[BEAM_ADDR_BYTES]; /* as in rdbeam.bind */
	uint32_t port;
	/* Where readers come from outside; "": the address that the primary sees. Port 0: `port`. */
	char announce[BEAM_ADDR_BYTES];
	uint32_t announce_port;
	uint32_t max_pulls;
	uint64_t rate_limit; /* bytes per second, 0: none */
	int timeout_ms;
};

/* Serves until SIGINT or SIGTERM (blocked while it runs). 0; or why it could not begin, with the line
 * in `error` (BEAM_REDIS_ERROR_BYTES). A primary that is lost later is waited for. */
int beam_relay_run(const struct beam_relay_opts *opts, beam_relay_report_fn *report, void *arg,
		   char *error);

struct beam_follow_opts {
	struct beam_redis_addr from;
	const char *dir;
	uint32_t keep; /* files, at least 1 */
	const char *transport;
	int timeout_ms;
};

/* Writes each new image to dir/rdbeam-TIME-GENERATION.rdb, whole and on disk before it has that name,
 * and removes the oldest beyond `keep`. Returns only when it could not begin. */
int beam_follow_run(const struct beam_follow_opts *opts, beam_relay_report_fn *report, void *arg,
		    char *error);

/* ---- for both ------------------------------------------------------------------------------- */

/* What they wait for: a generation that they do not know, or the time to try one again. */
struct beam_relay_news {
	struct beam_gen seen; /* pulled, or tried in vain */
	uint64_t again_at_ms; /* 0: pulled; else `seen` is to be tried again then */
	uint64_t pause_ms;    /* before that */
};

/* Blocks until the primary has another generation than news->seen. 0 with *gen, which is news->seen when that is to
 * be tried again; -EAGAIN when there was none for 20 seconds; or the connection's failure. */
int beam_relay_wait(struct beam_redis *redis, const struct beam_relay_news *news, int timeout_ms,
		    struct beam_gen *gen);
/* Tells why the primary lets nobody wait, with the remedy. Returns the code: BEAM_E_UNSUPPORTED without the module. */
int beam_relay_refused(const struct beam_redis *redis, int rc, char error[BEAM_REDIS_ERROR_BYTES]);
/* Notes how the pull of `gen` has ended: what may have been a moment's failure is tried again, after pauses that
 * become longer. */
void beam_relay_pulled(struct beam_relay_news *news, const struct beam_gen *gen, int code);

#endif
