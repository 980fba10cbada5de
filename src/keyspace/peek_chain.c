/* SPDX-License-Identifier: BSD-3-Clause
 * Layout of tables whose buckets are chains of entries (source: dict.h, dict.c of Redis 7.0.15,
 * 7.2.6, 7.4.1, Valkey 8.0.1). */
#include <string.h>

#include "own_memory.h"
#include "peek_layout.h"

#define TAG_MASK     7u
#define TAG_NORMAL   0u /* key, value, next */
#define TAG_EMBEDDED 4u /* value, next, header size, key */

struct dict_view {
	uintptr_t type;
	uintptr_t table[2];
	uint64_t used[2];
	int64_t rehash_at; /* -1: no rehash under way */
	int16_t paused;
	int8_t exponent[2];
	int32_t rest;
};

struct entry {
	uintptr_t value, next;
	const char *key;
};

static bool exponent_ok(int8_t exponent)
{
	return exponent >= 2 && exponent < 48;
}

static bool chain_open(uintptr_t at, struct beam_peek_table *table)
{
	struct dict_view dict;
	int n;

	if (!beam_read_seen(table->seen, at, &dict, sizeof(dict)) || dict.rehash_at < -1)
		return false;
	table->here = dict.used[0] + dict.used[1];
	table->rehash_at = dict.rehash_at;
	n = !table->here ? 0 : dict.rehash_at == -1 ? 1 : 2;
	for (int t = 0; t < n; t++)
		if (!dict.table[t] || !exponent_ok(dict.exponent[t]))
			return false;
	for (int t = 0; t < n; t++) {
		table->buckets[t] = dict.table[t];
		table->nbuckets[t] = 1ull << dict.exponent[t];
	}
	return true;
}

/* Decodes a tagged pointer. False for an unknown kind of entry. */
static inline bool entry_read(uintptr_t tagged, struct entry *entry)
{
	const uintptr_t *words = (const uintptr_t *)(tagged & ~(uintptr_t)TAG_MASK);

	switch (tagged & TAG_MASK) {
	case TAG_NORMAL:
		entry->key = (const char *)words[0];
		entry->value = words[1];
		entry->next = words[2];
		return true;
	case TAG_EMBEDDED:
		entry->value = words[0];
		entry->next = words[1];
		entry->key = (const char *)(words + 2) + 1 + ((const uint8_t *)(words + 2))[0];
		return true;
	default:
		return false;
	}
}

static bool entry_read_safely(const struct beam_peek_table *table, uintptr_t tagged,
			      struct entry *entry)
{
	return beam_seen_there(table->seen, (const void *)(tagged & ~(uintptr_t)TAG_MASK),
			       3 * sizeof(uintptr_t)) &&
	       entry_read(tagged, entry);
}

static bool bucket_read(const struct beam_peek_table *table, int t, uint64_t b, uintptr_t *first)
{
	return beam_read_seen(table->seen, table->buckets[t] + b * sizeof(*first), first,
			      sizeof(*first));
}

static bool chain_has(const struct beam_peek_table *table, int t, uint64_t b, uintptr_t value,
		      const char *name, size_t name_bytes)
{
	struct entry entry;
	uintptr_t at;

	if (!bucket_read(table, t, b, &at))
		return false;
	for (unsigned depth = 0; at && depth < PEEK_BUCKET; depth++, at = entry.next) {
		if (!entry_read_safely(table, at, &entry))
			return false;
		/* The name must match, too: many keys share the objects of small integers. */
		if (entry.value == value &&
		    peek_is_name(table, (uintptr_t)entry.key, name, name_bytes))
			return true;
	}
	return false;
}

static unsigned chain_count(const struct beam_peek_table *table, int t, uint64_t b)
{
	struct entry entry;
	uintptr_t at;
	unsigned n = 0;

	if (!bucket_read(table, t, b, &at))
		return PEEK_BUCKET + 1;
	for (; at && n <= PEEK_BUCKET; at = entry.next, n++)
		if (!entry_read_safely(table, at, &entry))
			return PEEK_BUCKET + 1;
	return n;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Keys in flight. Their entries are prefetched first, then their keys and value objects, then the
 * bytes of the values; each stage is done for the whole batch before the next one. */
struct batch {
	uintptr_t at[PEEK_BATCH];
	struct entry entry[PEEK_BATCH];
	unsigned n;
};

static int batch_emit(struct beam_peek_table *table, const struct batch *batch,
		      beam_open_key_fn *each, void *arg)
{
	struct peek_entry entries[PEEK_BATCH];

	for (unsigned i = 0; i < batch->n; i++)
		entries[i] = (struct peek_entry){.value = batch->entry[i].value,
						 .name = batch->entry[i].key};
	return peek_emit(table, entries, batch->n, each, arg);
}

/* Hands out the batch; the entries chained to it become the next batch. Negative for an unknown
 * kind of entry. */
static int batch_run(struct beam_peek_table *table, struct batch *batch, beam_open_key_fn *each,
		     void *arg)
{
	while (batch->n) {
		unsigned nchained = 0;

		for (unsigned i = 0; i < batch->n; i++) {
			struct entry *entry = &batch->entry[i];

			if (!entry_read(batch->at[i], entry))
				return -1;
			__builtin_prefetch(entry->key - 8);
			__builtin_prefetch((const void *)entry->value);
			if (entry->next)
				__builtin_prefetch(
				    (const void *)(entry->next & ~(uintptr_t)TAG_MASK));
		}
		for (unsigned i = 0; i < batch->n; i++) {
			uintptr_t data = ((const uintptr_t *)batch->entry[i].value)[1];

			/* Integers have no address here; prefetching one does no harm. */
			__builtin_prefetch((const void *)(data - 8));
			__builtin_prefetch((const void *)(data + 56));
		}
		int err = batch_emit(table, batch, each, arg);

		if (err)
			return err;
		for (unsigned i = 0; i < batch->n; i++)
			if (batch->entry[i].next)
				batch->at[nchained++] = batch->entry[i].next;
		batch->n = nchained;
	}
	return 0;
}

static int range_walk(struct beam_peek_table *table, const struct peek_range *range,
		      struct batch *batch, beam_open_key_fn *each, void *arg)
{
	const uintptr_t *from = (const uintptr_t *)range->buckets + range->first;

	for (uint64_t b = 0; b < range->n; b++) {
		uintptr_t at = from[b];

		if (!at)
			continue;
		__builtin_prefetch((const void *)(at & ~(uintptr_t)TAG_MASK));
		batch->at[batch->n++] = at;
		if (batch->n < PEEK_BATCH)
			continue;
		int err = batch_run(table, batch, each, arg);

		if (err)
			return err;
	}
	return 0;
}

static int chain_walk(struct beam_peek_table *table, struct peek_part *part, beam_open_key_fn *each,
		      void *arg)
{
	struct batch batch = {.n = 0};
	struct peek_range range;
	int more, err = 0;

	while (!err && (more = peek_next_range(table, part, &range)) != 0)
		err = more < 0 ? more : range_walk(table, &range, &batch, each, arg);
	return err ? err : batch_run(table, &batch, each, arg);
}

const struct peek_layout peek_chain = {
    .walked = BEAM_TABLE_CHAINED,
    .open = chain_open,
    .has = chain_has,
    .count = chain_count,
    .walk = chain_walk,
};
