/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The server's stream object (source: rio.h of Redis 7.0.15 to 8.6, Valkey 7.2.7 to 9.1) with a
 * write function of ours, for those functions exported by the server that write to a stream. The
 * layout is proved by what the server fills in when it initializes one: its own functions first,
 * then zeros, then the string that it was given. One thread.
 */
#ifndef BEAM_STREAM_H
#define BEAM_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct beam_stream {
	size_t (*read)(struct beam_stream *, void *, size_t);
	size_t (*write)(struct beam_stream *, const void *, size_t);
	off_t (*tell)(struct beam_stream *);
	int (*flush)(struct beam_stream *);
	void (*update_cksum)(struct beam_stream *, const void *, size_t);
	uint64_t cksum, flags;
	size_t processed_bytes, max_chunk;
	char *buffer;
	uint8_t room[4096]; /* more than any version needs */
	void *owner;
};

/* Fills in a stream. `write` returns 1, or 0 on failure; `tell` returns the number of bytes written
 * so far; both find `owner` in the stream. False: this server's streams have another layout. */
bool beam_stream_open(struct beam_stream *stream,
		      size_t (*write)(struct beam_stream *, const void *, size_t),
		      off_t (*tell)(struct beam_stream *), void *owner);

/* Makes `stream` one to which nothing has been written, from one that was opened. */
void beam_stream_renew(struct beam_stream *stream, const struct beam_stream *fresh);

#endif
