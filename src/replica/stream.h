/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The replication link to the primary. A thread of its own reads everything that the primary sends
 * after the snapshot's offset, and keeps it until the replica has loaded, so that the primary's
 * output buffer does not grow meanwhile. Bytes pass through unchanged. Only offset 0 is ever
 * acknowledged: this keeps the link alive and does not count as a good replica (rule 10).
 */
#ifndef BEAM_STREAM_H
#define BEAM_STREAM_H

#include <stdint.h>

#include "announce.h"

struct beam_stream;

struct beam_stream_opts {
	const struct beam_redis_addr *from;
	struct beam_announce name; /* announced for the link */
	const char *replid;
	int64_t offset; /* the snapshot's; the stream begins after it */
	uint64_t memory_bytes, spill_bytes;
	const char *spill_dir;
	int timeout_ms;
};

/* Requests a partial resync and starts the thread. Returns 0; BEAM_E_STALE when the primary's
 * backlog does not reach back to the offset or its history is a different one (a younger image is
 * needed); or another error with its line in `error`. */
int beam_stream_open(const struct beam_stream_opts *opts, char *error, struct beam_stream **out);

/* Stops the thread and closes the link. Accepts NULL; clears the pointer. */
void beam_stream_close(struct beam_stream **stream);

/* Readable when there are bytes to take or the link has ended. */
int beam_stream_fd(const struct beam_stream *stream);

/* Takes bytes in order. Returns how many; 0 when there are none now; or the code that ended the
 * link, once all bytes before it have been taken (beam_stream_error then gives the line). One
 * consumer, on any thread. */
long beam_stream_take(struct beam_stream *stream, void *out, size_t cap);

uint64_t beam_stream_received(struct beam_stream *stream); /* bytes so far; any thread */
/* Bytes so far that went to disk; any thread. */
uint64_t beam_stream_spilled(struct beam_stream *stream);

/* Returns 0 while the link lives, otherwise the code that ended it, with its line copied to
 * `error`. */
int beam_stream_error(struct beam_stream *stream, char *error);

#endif
