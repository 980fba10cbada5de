/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A temporary primary for the target. It listens on the local address of our connection to the
 * target, answers a replica's handshake, sends the image as the payload of a full resync, and then
 * the replication stream. All of this runs on a thread of its own.
 */
#ifndef BEAM_FEED_H
#define BEAM_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "segments.h"
#include "stream.h"

struct beam_feed;

struct beam_feed_opts {
	/* A connection to the target. Its local address is where the feed listens; its peer address
	 * is the only one that may connect. */
	int target_sock;
	const char *replid;
	int64_t offset; /* the snapshot's replication offset */
	struct beam_image_source image;
	struct beam_stream *stream; /* NULL: nothing follows the image */
	int timeout_ms;             /* how long to wait for the target to connect */
	/* The image may arrive slowly: hold back some of its bytes to keep the target's link alive
	 * meanwhile. */
	bool hold_back;
	/* Refuse a target that does not authenticate: the primary requires a password, so it would
	 * fail there later. */
	bool must_auth;
};

struct beam_feed_status {
	int code;           /* 0 while the feed runs */
	bool payload_begun; /* the target may have dropped its old data */
	bool payload_sent;
	bool loaded;        /* the target has sent an ACK after the payload */
	uint64_t fed_bytes; /* of the image */
	uint64_t first_byte_ms, loaded_ms;
	int64_t acked_offset;
	uint64_t streamed_bytes;
};

/* Starts listening and starts the thread; beam_feed_host and beam_feed_port then give the address.
 * The caller sends the target there by REPLICAOF. `opts->replid` and `opts->stream` must outlive
 * the feed. Returns 0, or an error with its line in `error`. */
int beam_feed_open(const struct beam_feed_opts *opts, char *error, struct beam_feed **out);
/* Where the feed listens: the numeric address, valid as long as the feed, and the port. */
const char *beam_feed_host(const struct beam_feed *feed);
uint32_t beam_feed_port(const struct beam_feed *feed);

/* Readable after each change of the status; reading the status clears it. */
int beam_feed_fd(const struct beam_feed *feed);
/* Copies the status. Any thread. */
void beam_feed_status(struct beam_feed *feed, struct beam_feed_status *out);
/* Returns 0 while the feed runs, or the code that ended it with its line copied to `error`. */
int beam_feed_error(struct beam_feed *feed, char *error);

/* From now on, the target closing the link is the expected end, not an error. */
void beam_feed_release(struct beam_feed *feed);

/* Stops the thread and closes everything. The image source must not block for ever (abort it
 * first). Accepts NULL; clears the pointer. */
void beam_feed_close(struct beam_feed **feed);

#endif
