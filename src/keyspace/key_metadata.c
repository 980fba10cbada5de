/* SPDX-License-Identifier: BSD-3-Clause */
#include "key_metadata.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "stream.h"
#include "value_proof.h"

#define SAVE "rdbSaveKeyMetadata"

struct beam_key_metadata {
	struct beam_stream fresh, stream;
	int (*save)(struct beam_stream *, RedisModuleString *name, const void *object, int db);
	size_t len;
};

static size_t count(struct beam_stream *stream, const void *from, size_t len_bytes)
{
	struct beam_key_metadata *metadata = stream->owner;

	(void)from;
	metadata->len += len_bytes;
	return 1;
}

static off_t counted(struct beam_stream *stream)
{
	return (off_t)((struct beam_key_metadata *)stream->owner)->len;
}

bool beam_key_metadata_known(void)
{
	return dlsym(RTLD_DEFAULT, SAVE);
}

struct beam_key_metadata *beam_key_metadata_open(void)
{
	struct beam_key_metadata *metadata = calloc(1, sizeof(*metadata));

	if (!metadata)
		return NULL;
	*(void **)&metadata->save = dlsym(RTLD_DEFAULT, SAVE);
	if (!metadata->save || !beam_stream_open(&metadata->fresh, count, counted, metadata))
		beam_key_metadata_close(&metadata);
	else
		metadata->stream = metadata->fresh;
	return metadata;
}

void beam_key_metadata_close(struct beam_key_metadata **metadata)
{
	free(*metadata);
	*metadata = NULL;
}

bool beam_key_metadata_has(struct beam_key_metadata *metadata, const struct beam_open_key *key,
			   const void *object, int db)
{
	RedisModuleString *name = beam_open_key_string(key);

	beam_stream_renew(&metadata->stream, &metadata->fresh);
	metadata->len = 0;
	int err = metadata->save(&metadata->stream, name, object, db);

	RedisModule_FreeString(NULL, name);
	return err || metadata->len;
}
