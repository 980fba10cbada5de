/* SPDX-License-Identifier: BSD-3-Clause */
#include "deferred.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "record_meta.h"

#define FIRST 64

static int reserve(struct beam_deferred *list)
{
	if (list->n < list->cap)
		return 0;
	size_t cap = list->cap ? list->cap * 2 : FIRST;
	struct beam_deferred_key *grown = realloc(list->keys, cap * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->keys = grown;
	list->cap = cap;
	return 0;
}

int beam_deferred_add(struct beam_deferred *list, const struct beam_open_key *key,
		      const struct beam_record_meta *meta, uint32_t db, bool is_string)
{
	char *name = reserve(list) ? NULL : malloc(key->name_bytes + 1);

	if (!name)
		return -ENOMEM;
	struct beam_deferred_key *added = &list->keys[list->n++];

	memcpy(name, key->name, key->name_bytes);
	*added = (struct beam_deferred_key){
	    .name = name,
	    .name_bytes = key->name_bytes,
	    .object = key->object,
	    .expire_ms = meta->expire,
	    .db = db,
	    .is_string = is_string,
	    .meta_bytes = (uint8_t)meta->len,
	};
	static_assert(sizeof(added->meta) >= sizeof(meta->bytes), "all of it fits");
	memcpy(added->meta, meta->bytes, meta->len);
	return 0;
}

void beam_deferred_free(struct beam_deferred *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->keys[i].name);
	free(list->keys);
	*list = (struct beam_deferred){0};
}
