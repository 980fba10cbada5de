/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The replication link to the primary: everything it says after the cut, read continuously by a
 * thread of its own and kept until the replica has loaded. So the primary's output buffer does not
 * grow meanwhile. Bytes pass through as they are. Nothing is acknowledged but offset 0, which keeps
 * the link and counts for nothing (rule 10).
 */
#ifndef BEAM_STREAM_H
#define BEAM_STREAM_H

#include <stdint.h>

#include "announce.h"

struct beam_stream;

struct beam_stream_opts {
	const struct beam_redis_addr *from;
	struct beam_announce name; /* of the link, in its list of replicas */
	const char *replid;
	int64_t offset; /* of the cut: the stream begins behind it */
	uint64_t memory_bytes, spill_bytes;
	const char *spill_dir;
	int timeout_ms;
};

/* Asks for a partial resync and starts the thread. 0; BEAM_E_STALE when the primary's backlog does
 * not reach back to the offset or its history is another (a younger image is needed); or another
 * error, with its line in `error`. */
int beam_stream_open(const struct beam_stream_opts *opts, char *error, struct beam_stream **out);

/* Ends the thread and the link. NULL-safe, clears the pointer. */
void beam_stream_close(struct beam_stream **stream);

/* Readable when there are bytes to take or the link has ended. */
int beam_stream_fd(const struct beam_stream *stream);

/* Takes bytes in order. Returns how many; 0 when there are none now; the code that ended the link
 * once all bytes before it are taken (then beam_stream_error says why). One consumer, any thread.
 */
long beam_stream_take(struct beam_stream *stream, void *out, size_t cap);

uint64_t beam_stream_received(struct beam_stream *stream); /* bytes so far. Any thread */
uint64_t beam_stream_spilled(struct beam_stream *stream);

/* 0 while the link lives, else the code that ended it, with the line copied to `error`. */
int beam_stream_error(struct beam_stream *stream, char *error);

#endif
