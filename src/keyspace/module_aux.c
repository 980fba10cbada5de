/* SPDX-License-Identifier: BSD-3-Clause */
#include "module_aux.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdbeam/error.h"
#include "stream.h"

#define FIRST_BYTES 4096

struct sink {
	uint8_t *bytes;
	size_t len, cap;
	int error;
};

static int reserve(struct sink *sink, size_t len_bytes)
{
	size_t cap = sink->cap ? sink->cap : FIRST_BYTES;

	if (len_bytes > BEAM_AUX_MOST_BYTES - sink->len)
		return BEAM_E_FULL;
	if (sink->len + len_bytes <= sink->cap)
		return 0;
	while (cap < sink->len + len_bytes)
		cap *= 2;
	uint8_t *grown = realloc(sink->bytes, cap);

	if (!grown)
		return -ENOMEM;
	sink->bytes = grown;
	sink->cap = cap;
	return 0;
}

static size_t take(struct beam_stream *stream, const void *from, size_t len_bytes)
{
	struct sink *sink = stream->owner;

	if (!sink->error)
		sink->error = reserve(sink, len_bytes);
	if (sink->error)
		return 0;
	memcpy(sink->bytes + sink->len, from, len_bytes);
	sink->len += len_bytes;
	return 1;
}

static off_t told(struct beam_stream *stream)
{
	return (off_t)((struct sink *)stream->owner)->len;
}

int beam_module_aux_read(enum beam_aux_when when, uint8_t **bytes, size_t *len_bytes)
{
	static struct beam_stream stream;
	struct sink sink = {0};
	ssize_t (*save)(struct beam_stream *, int when);

	*bytes = NULL;
	*len_bytes = 0;
	*(void **)&save = dlsym(RTLD_DEFAULT, "rdbSaveModulesAux");
	if (!save || !beam_stream_open(&stream, take, told, &sink))
		return BEAM_E_UNSUPPORTED;
	if (save(&stream, when) < 0 && !sink.error)
		sink.error = BEAM_E_SERVER;
	if (sink.error || !sink.len) {
		free(sink.bytes);
		return sink.error;
	}
	*bytes = sink.bytes;
	*len_bytes = sink.len;
	return 0;
}

static bool is_owned(const struct beam_aux_types *types, const void *type)
{
	const void *(*find_type)(uint64_t id);
	const char *(*module_of)(const void *type);

	*(void **)&find_type = dlsym(RTLD_DEFAULT, "moduleTypeLookupModuleByID");
	*(void **)&module_of = dlsym(RTLD_DEFAULT, "moduleTypeModuleName");
	if (types->n > BEAM_AUX_TYPES_MAX || !find_type || !module_of)
		return true;
	const char *owner = module_of(type);

	for (uint32_t i = 0; owner && i < types->n; i++) {
		const char *name = module_of(find_type(types->ids[i]));

		if (!name || strcmp(name, owner) == 0)
			return true;
	}
	return !owner;
}

bool beam_module_aux_owns(const struct beam_aux_types *types, RedisModuleKey *key)
{
	/* Consecutive keys mostly have the same type, and finding the owner anew for each key would
	 * take a quarter of the time. The answer can be kept in static variables, since a child has
	 * only one list of types. */
	static const void *asked;
	static bool owned;

	if (!types->n || RedisModule_KeyType(key) != REDIS_KEY_MODULE)
		return false;
	const void *type = RedisModule_ModuleTypeGetType(key);

	if (!type || type != asked)
		owned = is_owned(types, type);
	asked = type;
	return owned;
}
