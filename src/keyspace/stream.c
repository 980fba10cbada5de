/* SPDX-License-Identifier: BSD-3-Clause */
#include "stream.h"

#include <dlfcn.h>
#include <string.h>

static int flushed(struct beam_stream *stream)
{
	(void)stream;
	return 1;
}

bool beam_stream_open(struct beam_stream *stream,
		      size_t (*write)(struct beam_stream *, const void *, size_t),
		      off_t (*tell)(struct beam_stream *), void *owner)
{
	void (*init_with_buffer)(struct beam_stream *, char *);
	char *(*empty)(void);
	void (*release)(char *);

	*(void **)&init_with_buffer = dlsym(RTLD_DEFAULT, "rioInitWithBuffer");
	*(void **)&empty = dlsym(RTLD_DEFAULT, "sdsempty");
	*(void **)&release = dlsym(RTLD_DEFAULT, "sdsfree");
	if (!init_with_buffer || !empty || !release)
		return false;
	char *string = empty();

	memset(stream, 0xff, sizeof(*stream));
	init_with_buffer(stream, string);
	bool known = stream->read && stream->write && stream->tell && stream->flush &&
		     !stream->update_cksum && !stream->cksum && !stream->flags &&
		     !stream->processed_bytes && !stream->max_chunk && stream->buffer == string;

	release(string);
	stream->buffer = NULL;
	stream->write = write;
	stream->tell = tell;
	stream->flush = flushed;
	stream->owner = owner;
	return known;
}

void beam_stream_renew(struct beam_stream *stream, const struct beam_stream *fresh)
{
	memcpy(stream, fresh, offsetof(struct beam_stream, room));
}
