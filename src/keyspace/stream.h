/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The server's stream object (source: rio.h of Redis 7.0.15 to 8.6, Valkey 7.2.7 to 9.1) with a write of ours
 * in it, for what the server exports that writes to one. Its layout is proved by what the server puts into
 * one: its own functions in front, the string that it was given behind, zeros between. One thread.
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

/* Fills one in. `write` returns 1, or 0 on failure; `tell` the bytes so far; `owner` is theirs. False: this
 * server's streams are others. */
bool beam_stream_open(struct beam_stream *stream,
		      size_t (*write)(struct beam_stream *, const void *, size_t),
		      off_t (*tell)(struct beam_stream *), void *owner);

/* Makes `stream` one that nothing was written to, from one that was opened. */
void beam_stream_renew(struct beam_stream *stream, const struct beam_stream *fresh);

#endif
