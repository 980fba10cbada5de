/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pull: turns a primary's image into a ready replica (or a copy, a file, or nothing). It uses
 * three threads: the stream reads and buffers the primary's replication link; the fetch, on the
 * caller's thread, runs the transport and checks CRCs; the feed is the temporary primary of the
 * local Redis. See docs/architecture.md, "A pull, step by step".
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
	BEAM_PULL_RELAY,   /* into a relay's sink, with the primary's signatures */
	BEAM_PULL_DISCARD, /* read and verify, keep nothing: for measuring */
};

/* The relay that a BEAM_PULL_RELAY fills. */
struct beam_pull_relay {
	/* Its connection to the primary, where it registered; tickets are requested on it. */
	struct beam_redis *redis;
	struct beam_segment_sink sink;
	/* Result, with the primary's signature of it. */
	struct beam_wire_complete totals;
	struct beam_wire_vouched vouched;
};

struct beam_pull_opts {
	struct beam_redis_addr from;
	struct beam_redis_addr to; /* REPLICA, COPY */
	/* REPLICA, when `from` is itself a replica: the primary that the target follows in the end.
	 * With an empty host it is the primary that `from` names, with the credentials of `from`.
	 */
	struct beam_redis_addr primary;
	enum beam_pull_target target;
	const char *file;              /* FILE */
	struct beam_stage **kept;      /* KEEP: set on success, the caller closes it */
	const char *transport;         /* "auto", "tcp", "verbs" */
	const char *loader;            /* REPLICA: "auto", "module", "stock" */
	struct beam_pull_relay *relay; /* RELAY */
	struct beam_gen gen;           /* this image only; counter 0: any */
	/* Set by another thread to end the pull with BEAM_E_ABORTED. May be NULL. */
	const atomic_bool *stop;
	/* Feed the target before the whole image is verified, even if it holds data. */
	bool stream;
	bool force;            /* replace other data (REPLICA), overwrite keys (COPY) */
	bool fresh;            /* do not use a retained image */
	uint64_t buffer_bytes; /* memory for image and stream on this host */
	uint64_t spill_bytes;  /* upper limit of stream bytes on disk */
	const char *spill_dir; /* default: TMPDIR or /tmp */
	/* REPLICA: identifies an automatic pull, as the target's module named it; else NULL. */
	const char *pull_id;
	/* For catching up with the primary and for the new link to come up; 0: 60,000. */
	int handover_timeout_ms;
	int timeout_ms;          /* of single steps (connect, ticket); 0: 10,000 */
	beam_reads_fn *on_reads; /* called on the caller's thread; may be NULL */
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
	uint64_t stream_bytes;   /* received from the replication stream */
	uint32_t queue_position; /* 0: being served */
	uint32_t queue_length;
	uint64_t elapsed_ms;
};

typedef void beam_pull_progress_fn(void *arg, const struct beam_pull_progress *progress);

struct beam_pull_result {
	struct beam_gen gen;
	struct beam_cut cut;
	char transport[16];
	char loader[8]; /* REPLICA: "stock", "module" */
	bool reused;    /* a retained image: no fork for this pull */
	uint64_t keys;
	uint64_t image_bytes;
	uint64_t near_bytes; /* copied from the primary's memory on this host, by no network */
	uint32_t nsegments;
	uint64_t reread_segments;
	/* The relay that the image came from, the last one if several; "": the primary itself. */
	char relay[80];
	uint32_t relays_failed;
	uint64_t stream_bytes, spilled_bytes;
	uint64_t copy_ms; /* of the primary's snapshot */
	uint64_t ticket_ms, transfer_ms, load_ms, catchup_ms, handover_ms, total_ms;
	int partial_resyncs, full_resyncs;  /* of the hand-over */
	char error[BEAM_REDIS_ERROR_BYTES]; /* one line with the remedy, when the pull failed */
};

/* Runs a pull to its end. `progress` (may be NULL) is called on the caller's thread about 10 times
 * a second. Returns 0 or the first error; `result` is filled in as far as the pull got. After a
 * failure the target is as it was before, or (once it was being fed) follows its recorded primary
 * again; nothing is left on disk. For a REPLICA target that loads by itself, the calling thread's
 * priority is lowered for good. */
int beam_pull_run(const struct beam_pull_opts *opts, beam_pull_progress_fn *progress, void *arg,
		  struct beam_pull_result *result);

#endif
