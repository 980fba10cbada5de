/* SPDX-License-Identifier: BSD-3-Clause
 * Layout of tables whose buckets are a cache line each: a byte of flags, a byte of hash for each
 * of seven entries, then the entries, which are pointers to objects with their keys embedded.
 * The last entry of a full bucket may point to another bucket (source: hashtable.c of Valkey 8.1
 * and 9.1). */
#include <assert.h>
#include <string.h>

#include "object.h"
#include "own_memory.h"
#include "peek_layout.h"

#define PLACES        7
#define FLAG_CHAINED  1u /* bit 0: the last entry is another bucket; bits 1-7: entries in use */
#define CHAIN_MAX     1024
#define AHEAD_BUCKETS 16 /* buckets that are prefetched ahead of the walk */

struct hashtable_view {
	uintptr_t type;
	int64_t rehash_at; /* -1: no rehash under way */
	uintptr_t table[2];
	uint64_t used[2];
	int8_t exponent[2];
	int8_t rest[6];
};

struct bucket {
	uint8_t flags;
	uint8_t hashes[PLACES];
	uintptr_t place[PLACES];
};

static_assert(sizeof(struct bucket) == 64, "a cache line");

static bool bucket_open(uintptr_t at, struct beam_peek_table *table)
{
	struct hashtable_view view;
	int n;

	if (!beam_read_seen(table->seen, at, &view, sizeof(view)) || view.rehash_at < -1)
		return false;
	table->here = view.used[0] + view.used[1];
	table->rehash_at = view.rehash_at;
	n = !table->here ? 0 : view.rehash_at == -1 ? 1 : 2;
	for (int t = 0; t < n; t++)
		if (!view.table[t] || view.table[t] % sizeof(void *) || view.exponent[t] < 0 ||
		    view.exponent[t] >= 48)
			return false;
	for (int t = 0; t < n; t++) {
		table->buckets[t] = view.table[t];
		table->nbuckets[t] = 1ull << view.exponent[t];
	}
	return true;
}

static bool is_chained(const struct bucket *bucket)
{
	return bucket->flags & FLAG_CHAINED;
}

static bool in_use(const struct bucket *bucket, unsigned place)
{
	return bucket->flags >> (place + 1) & 1 && !(is_chained(bucket) && place == PLACES - 1);
}

/* Copies the next bucket of a chain. False at the end of the chain, or if the bucket cannot be
 * read. */
static bool next_safely(const struct beam_peek_table *table, struct bucket *bucket, uintptr_t *at)
{
	if (!*at || *at % sizeof(void *) ||
	    !beam_read_seen(table->seen, *at, bucket, sizeof(*bucket)))
		return false;
	*at = is_chained(bucket) ? bucket->place[PLACES - 1] : 0;
	return true;
}

static uintptr_t address_of(const struct beam_peek_table *table, int t, uint64_t b)
{
	return table->buckets[t] + b * sizeof(struct bucket);
}

static bool is_named(const struct beam_peek_table *table, uintptr_t value, const char *name,
		     size_t name_bytes)
{
	const char *key;
	int64_t expire_ms;

	return beam_seen_there(table->seen, (const void *)value, BEAM_OBJECT_NEAR_BYTES) &&
	       beam_object_key((const unsigned char *)value, &key, &expire_ms) &&
	       peek_is_name(table, (uintptr_t)key, name, name_bytes);
}

static bool bucket_has(const struct beam_peek_table *table, int t, uint64_t b, uintptr_t value,
		       const char *name, size_t name_bytes)
{
	uintptr_t at = address_of(table, t, b);
	struct bucket bucket;

	for (unsigned depth = 0; depth < PEEK_BUCKET && next_safely(table, &bucket, &at); depth++)
		for (unsigned i = 0; i < PLACES; i++)
			if (in_use(&bucket, i) && bucket.place[i] == value)
				return is_named(table, value, name, name_bytes);
	return false;
}

static unsigned bucket_count(const struct beam_peek_table *table, int t, uint64_t b)
{
	uintptr_t at = address_of(table, t, b);
	struct bucket bucket;
	unsigned n = 0;

	while (at && n <= PEEK_BUCKET) {
		if (!next_safely(table, &bucket, &at))
			return PEEK_BUCKET + 1;
		for (unsigned i = 0; i < PLACES; i++)
			n += in_use(&bucket, i);
	}
	return n;
}

/* ---- the walk ------------------------------------------------------------------------------- */

struct batch {
	struct peek_entry entry[PEEK_BATCH + PLACES];
	unsigned n;
};

/* The objects have been prefetched since they were added. Prefetches what they point to, then hands
 * out all of them. */
static int batch_run(struct beam_peek_table *table, struct batch *batch, beam_open_key_fn *each,
		     void *arg)
{
	unsigned n = batch->n;

	batch->n = 0;
	for (unsigned i = 0; i < n; i++) {
		struct peek_entry *entry = &batch->entry[i];
		uintptr_t data = ((const uintptr_t *)entry->value)[1];

		if (!beam_object_key((const unsigned char *)entry->value, &entry->name,
				     &entry->expire_ms))
			return -1;
		/* Integers and short values have no address here; prefetching one does no harm. */
		__builtin_prefetch((const void *)(data - 8));
		__builtin_prefetch((const void *)(data + 56));
	}
	return peek_emit(table, batch->entry, n, each, arg);
}

/* Adds the entries of a bucket and of the buckets chained to it. */
static int chain_walk(struct beam_peek_table *table, const struct bucket *bucket,
		      struct batch *batch, beam_open_key_fn *each, void *arg)
{
	for (unsigned depth = 0; bucket; depth++) {
		if (depth == CHAIN_MAX)
			return -1;
		for (unsigned i = 0; i < PLACES; i++) {
			if (!in_use(bucket, i))
				continue;
			__builtin_prefetch((const void *)bucket->place[i]);
			__builtin_prefetch((const void *)(bucket->place[i] + 64));
			batch->entry[batch->n++] =
			    (struct peek_entry){.value = bucket->place[i], .knows_expire = true};
		}
		int err = batch->n < PEEK_BATCH ? 0 : batch_run(table, batch, each, arg);

		if (err)
			return err;
		bucket =
		    is_chained(bucket) ? (const struct bucket *)bucket->place[PLACES - 1] : NULL;
	}
	return 0;
}

static int range_walk(struct beam_peek_table *table, const struct peek_range *range,
		      struct batch *batch, beam_open_key_fn *each, void *arg)
{
	const struct bucket *from = (const struct bucket *)range->buckets + range->first;
	int err = 0;

	for (uint64_t b = 0; b < range->n && !err; b++) {
		__builtin_prefetch(&from[b + AHEAD_BUCKETS]);
		err = chain_walk(table, &from[b], batch, each, arg);
	}
	return err;
}

static int bucket_walk(struct beam_peek_table *table, struct peek_part *part,
		       beam_open_key_fn *each, void *arg)
{
	struct batch batch = {.n = 0};
	struct peek_range range;
	int more, err = 0;

	while (!err && (more = peek_next_range(table, part, &range)) != 0)
		err = more < 0 ? more : range_walk(table, &range, &batch, each, arg);
	return err ? err : batch_run(table, &batch, each, arg);
}

const struct peek_layout peek_bucket = {
    .walked = BEAM_TABLE_BUCKETS,
    .open = bucket_open,
    .has = bucket_has,
    .count = bucket_count,
    .walk = bucket_walk,
};
