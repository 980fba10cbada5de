/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Takes the server's checksum function out of the stream of one load (docs/adr/0100).
 *
 * That function does two things besides the sum: it counts, and each time another max_chunk bytes
 * have passed it lets the server serve its clients. So ours calls it when such a step is crossed,
 * for the bytes up to there only. */
#include "load_sum.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "crc64.h"
#include "log.h"
#include "stream.h"

#define STRING_OPCODE 5  /* precedes a string that the module API reads: rdb.h */
#define SHORT_STRING  63 /* longest string whose length takes one byte */

/* The first fields of the API's struct RedisModuleIO (module.c). */
struct io {
	size_t bytes;
	struct beam_stream *stream;
};

static struct {
	struct beam_stream *stream; /* the one that is not summed */
	void (*sum)(struct beam_stream *, const void *, size_t);
} left_out;

/* True if the bytes lie in the part of this thread's stack that is in use, so that they can be
 * read. */
static bool on_stack(const void *at, size_t len_bytes)
{
	uintptr_t first = (uintptr_t)at;
	pthread_attr_t attr;
	size_t size = 0;
	void *low = NULL;

	if (pthread_getattr_np(pthread_self(), &attr))
		return false;
	bool known = pthread_attr_getstack(&attr, &low, &size) == 0;

	pthread_attr_destroy(&attr);
	return known && first >= (uintptr_t)__builtin_frame_address(0) &&
	       first % sizeof(void *) == 0 && first < (uintptr_t)low + size &&
	       len_bytes <= (uintptr_t)low + size - first;
}

/* True if `code` lies in the same program as the module API, which is the server. */
static bool is_servers(void (*code)(struct beam_stream *, const void *, size_t))
{
	Dl_info api, info;

	return dladdr(*(void **)&RedisModule_LoadUnsigned, &api) &&
	       dladdr(*(void **)&code, &info) && api.dli_fbase == info.dli_fbase;
}

static struct beam_stream *find_stream(RedisModuleIO *io)
{
	const struct io *known = (const struct io *)io;

	if (!on_stack(io, sizeof(*known)) ||
	    !on_stack(known->stream, offsetof(struct beam_stream, buffer)))
		return NULL;
	return known->stream;
}

void beam_load_sum_look(RedisModuleIO *io, struct beam_load_sum_look *look)
{
	look->stream = find_stream(io);
	if (!look->stream)
		return;
	look->cksum = look->stream->cksum;
	look->processed_bytes = look->stream->processed_bytes;
}

static void pass(struct beam_stream *stream, const void *bytes, size_t len_bytes)
{
	size_t step = stream->max_chunk, at = stream->processed_bytes;

	if (stream != left_out.stream)
		left_out.sum(stream, bytes, len_bytes);
	else if (step && (at + len_bytes) / step > at / step)
		left_out.sum(stream, bytes, step - at % step);
}

void beam_load_sum_leave_out(const struct beam_load_sum_look *look, const void *bytes,
			     size_t len_bytes)
{
	uint8_t came[2 + SHORT_STRING] = {STRING_OPCODE, (uint8_t)len_bytes};
	struct beam_stream *stream = look->stream;

	if (!stream || len_bytes > SHORT_STRING)
		return;
	memcpy(came + 2, bytes, len_bytes);
	len_bytes += 2;
	if (stream->processed_bytes != look->processed_bytes + len_bytes ||
	    stream->cksum != beam_crc64(look->cksum, came, len_bytes) ||
	    !is_servers(stream->update_cksum))
		return;
	left_out.stream = stream;
	left_out.sum = stream->update_cksum;
	stream->update_cksum = pass;
	beam_log(BEAM_LOG_NOTICE, "loading by module: the server computes no checksum, because the "
				  "pull has verified the data");
}

void beam_load_sum_end(RedisModuleIO *io)
{
	struct beam_stream *stream = left_out.stream;

	if (stream && stream == find_stream(io) && stream->update_cksum == pass)
		stream->update_cksum = left_out.sum;
	left_out.stream = NULL;
}
