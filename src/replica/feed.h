/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A temporary primary for the target: listens on the address by which we reach it, answers the
 * handshake of a replica, sends the image as the payload of a full resync, then the stream. A
 * thread of its own.
 */
#ifndef BEAM_FEED_H
#define BEAM_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "segments.h"
#include "stream.h"

struct beam_feed;

struct beam_feed_opts {
	int target_sock; /* connected to the target: its two ends are where we listen, who may come
			  */
	const char *replid;
	int64_t offset; /* of the cut */
	struct beam_image_source image;
	struct beam_stream *stream; /* may be NULL: nothing follows the image */
	int timeout_ms;             /* for the target to come */
	bool
	    hold_back; /* the image may be slow to come: the target is kept waiting by bytes of it */
	bool must_auth; /* it shall come with a password: where it goes one is wanted */
};

struct beam_feed_status {
	int code;           /* 0 while it lives */
	bool payload_begun; /* the target may have dropped what it held */
	bool payload_sent;
	bool loaded;        /* the target has acknowledged after the payload */
	uint64_t fed_bytes; /* of the image */
	uint64_t first_byte_ms, loaded_ms;
	int64_t acked_offset;
	uint64_t streamed_bytes;
};

/* Listens; then `host` and `port` say where. The target comes when it is told REPLICAOF. */
int beam_feed_open(const struct beam_feed_opts *opts, char *error, struct beam_feed **out);
const char *beam_feed_host(const struct beam_feed *feed);
uint32_t beam_feed_port(const struct beam_feed *feed);

/* Readable at each change of the status; reading the status clears it. */
int beam_feed_fd(const struct beam_feed *feed);
void beam_feed_status(struct beam_feed *feed, struct beam_feed_status *out);
/* 0, or the code that ended the feed with its line copied to `error`. */
int beam_feed_error(struct beam_feed *feed, char *error);

/* From now on the target's leaving is the end of the work and no error. */
void beam_feed_release(struct beam_feed *feed);

/* Ends the thread, closes everything. The image source must not block for ever (abort it first).
 * NULL-safe, clears the pointer. */
void beam_feed_close(struct beam_feed **feed);

#endif
