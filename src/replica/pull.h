/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pull: from a primary's image to a ready replica (or a copy, a file, nowhere). Threads inside:
 * stream (replication link of the primary, buffered), fetch (transport and CRCs, the caller's
 * thread), feed (temporary primary of the local Redis). docs/architecture.md, "A pull, step by
 * step".
 */
#ifndef BEAM_PULL_H
#define BEAM_PULL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "redis.h"
#include "segments.h"
#include "stage.h"
#include "wire.h"

enum beam_pull_target {
	BEAM_PULL_REPLICA,
	BEAM_PULL_COPY,
	BEAM_PULL_FILE,
	BEAM_PULL_KEEP,    /* give the verified image to the caller */
	BEAM_PULL_RELAY,   /* into the sink of a relay, with the primary's signatures */
	BEAM_PULL_DISCARD, /* read and verify, keep nothing: for measuring */
};

/* Whom a BEAM_PULL_RELAY fills. */
struct beam_pull_relay {
	struct beam_redis *redis; /* by which it joined the primary: tickets are asked for there */
	struct beam_segment_sink sink;
	struct beam_wire_complete totals; /* out, with the primary's word for them */
	struct beam_wire_vouched vouched;
};

struct beam_pull_opts {
	struct beam_redis_addr from;
	struct beam_redis_addr to; /* REPLICA, COPY */
	/* REPLICA, when `from` is a replica itself: whom the target follows in the end. Without a host
	 * it is the primary that `from` names, with the credentials of `from`. */
	struct beam_redis_addr primary;
	enum beam_pull_target target;
	const char *file;              /* FILE */
	struct beam_stage **kept;      /* KEEP: set on success, the caller's to close */
	const char *transport;         /* "auto", "tcp", "verbs" */
	const char *loader;            /* REPLICA: "auto", "module", "stock" */
	struct beam_pull_relay *relay; /* RELAY */
	struct beam_gen gen;           /* this image and no other; counter 0: any */
	const atomic_bool *stop;       /* set by another thread: BEAM_E_ABORTED. May be NULL */
	bool stream; /* feed before the whole image is verified, whatever the target holds */
	bool force;  /* replace foreign keys (REPLICA), overwrite keys (COPY) */
	bool fresh;  /* do not use a retained image */
	uint64_t buffer_bytes; /* memory for image and stream on this host */
	uint64_t spill_bytes;  /* most bytes of stream on disk */
	const char *spill_dir; /* default TMPDIR or /tmp */
	const char *pull_id;   /* REPLICA: an automatic pull, as the target's module named it */
	int handover_timeout_ms;
	int timeout_ms;          /* for single steps: connect, ticket */
	beam_reads_fn *on_reads; /* from the caller's thread. May be NULL */
	void *on_reads_arg;
};

enum beam_pull_stage {
	BEAM_STAGE_TICKET,
	BEAM_STAGE_TRANSFER,
	BEAM_STAGE_LOAD,
	BEAM_STAGE_CATCHUP,
	BEAM_STAGE_HANDOVER,
	BEAM_STAGES,
};

struct beam_pull_progress {
	enum beam_pull_stage stage;
	uint64_t bytes, bytes_total; /* total 0: not known yet */
	uint64_t fed_bytes;
	uint64_t stream_bytes;   /* received of the replication stream */
	uint32_t queue_position; /* 0: served */
	uint32_t queue_length;
	uint64_t elapsed_ms;
};

typedef void beam_pull_progress_fn(void *arg, const struct beam_pull_progress *progress);

struct beam_pull_result {
	struct beam_gen gen;
	struct beam_cut cut;
	char transport[16];
	char loader[8]; /* REPLICA: "stock", "module" */
	bool reused;    /* a retained image, no fork for this pull */
	uint64_t keys;
	uint64_t image_bytes;
	uint32_t nsegments;
	uint64_t reread_segments;
	char relay[80]; /* that the image came from, the last one; "": the primary itself */
	uint32_t relays_failed;
	uint64_t stream_bytes, spilled_bytes;
	uint64_t copy_ms; /* of the primary's snapshot */
	uint64_t ticket_ms, transfer_ms, load_ms, catchup_ms, handover_ms, total_ms;
	int partial_resyncs, full_resyncs;  /* of the hand-over */
	char error[BEAM_REDIS_ERROR_BYTES]; /* one line with the remedy, when the pull failed */
};

/* Runs a pull to its end. `progress` (may be NULL) is called from the caller's thread, about 10
 * times a second. 0 or the first error; result is filled in as far as it got. On failure the target
 * is as it was before the feed, or (once fed) set back to its recorded primary; nothing is left on
 * disk. For a REPLICA that loads by itself the calling thread's priority is lowered, for good. */
int beam_pull_run(const struct beam_pull_opts *opts, beam_pull_progress_fn *progress, void *arg,
		  struct beam_pull_result *result);

#endif
