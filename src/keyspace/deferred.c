/* SPDX-License-Identifier: BSD-3-Clause */
#include "deferred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST 64

int beam_deferred_add(struct beam_deferred *list, const struct beam_deferred_key *key)
{
	if (list->n == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : FIRST;
		struct beam_deferred_key *grown = realloc(list->keys, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->keys = grown;
		list->cap = cap;
	}
	char *name = malloc(key->name_bytes + 1);

	if (!name)
		return -ENOMEM;
	memcpy(name, key->name, key->name_bytes);
	list->keys[list->n] = *key;
	list->keys[list->n++].name = name;
	return 0;
}

void beam_deferred_free(struct beam_deferred *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->keys[i].name);
	free(list->keys);
	*list = (struct beam_deferred){0};
}
