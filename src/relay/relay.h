/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A relay pulls each image of a primary and serves it to further readers, so that the primary
 * itself sends it to only a few. A follower keeps each image as a file. Both run until they are
 * told to stop.
 */
#ifndef BEAM_RELAY_H
#define BEAM_RELAY_H

#include "pull.h"

/* The rights that a relay's or a follower's user needs on the primary: those of a puller and one
 * more (docs/security.md). */
#define BEAM_RELAY_RIGHTS "+info +psync +replconf +rdbeam.ticket +rdbeam.relay"

/* Called when an image was pulled, or (code not 0) could not be pulled, with the line in
 * result->error. `file` is the follower's file, NULL for a relay. Called from one thread at a time.
 */
typedef void beam_relay_report_fn(void *arg, int code, const struct beam_pull_result *result,
				  const char *file);

struct beam_relay_opts {
	struct beam_redis_addr from;
	char listen[BEAM_ADDR_BYTES]; /* as in rdbeam.bind */
	uint32_t port;
	/* The address by which readers reach the relay from outside; "": the address that the
	 * primary sees. Port 0: `port`. */
	char announce[BEAM_ADDR_BYTES];
	uint32_t announce_port;
	uint32_t max_pulls;
	uint64_t rate_limit; /* bytes per second, 0: no limit */
	int timeout_ms;
};

/* Serves until SIGINT or SIGTERM (both are blocked while it runs). Returns 0, or the code of what
 * kept it from starting, with the line in `error` (BEAM_REDIS_ERROR_BYTES). If the primary is lost
 * later, the relay waits for it to come back. */
int beam_relay_run(const struct beam_relay_opts *opts, beam_relay_report_fn *report, void *arg,
		   char *error);

struct beam_follow_opts {
	struct beam_redis_addr from;
	const char *dir;
	uint32_t keep; /* number of files, at least 1 */
	const char *transport;
	int timeout_ms;
};

/* Writes each new image to dir/rdbeam-TIME-GENERATION.rdb, which gets that name once it is complete
 * and on disk, and removes the oldest files beyond `keep`. Returns only if it cannot start, or if
 * the primary refuses to serve it; with the line in `error`. */
int beam_follow_run(const struct beam_follow_opts *opts, beam_relay_report_fn *report, void *arg,
		    char *error);

/* ---- for both ------------------------------------------------------------------------------- */

/* What both wait for: a generation that they do not know yet, or the time to retry one. */
struct beam_relay_news {
	struct beam_gen seen; /* pulled, or tried without success */
	uint64_t again_at_ms; /* 0: pulled; else when to try `seen` again */
	uint64_t pause_ms;    /* the pause before that */
};

/* Blocks until the primary has a generation other than news->seen. Returns 0 with *gen, which is
 * news->seen when it is time to try that one again; -EAGAIN when there was none for 20 seconds; or
 * the connection's failure. */
int beam_relay_wait(struct beam_redis *redis, const struct beam_relay_news *news, int timeout_ms,
		    struct beam_gen *gen);
/* Writes the reason why the primary refuses to let us wait, with the remedy. Returns the code:
 * BEAM_E_UNSUPPORTED when the module is missing. */
int beam_relay_refused(const struct beam_redis *redis, int rc, char error[BEAM_REDIS_ERROR_BYTES]);
/* Records how the pull of `gen` ended. After a failure that may be temporary it is tried again,
 * after increasing pauses. */
void beam_relay_pulled(struct beam_relay_news *news, const struct beam_gen *gen, int code);

#endif
