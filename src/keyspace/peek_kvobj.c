/* SPDX-License-Identifier: BSD-3-Clause
 * Layout of tables of objects with their keys embedded (source: dict.h, dict.c, object.h, object.c
 * of Redis 8.6.3). The word of a bucket is either a tagged pointer to an object or a pointer to an
 * entry of two words: an object, and the rest of the bucket. */
#include "object.h"
#include "own_memory.h"
#include "peek_layout.h"

#define TAG_MASK     7u
#define TAG_ENTRY    0u /* next, object */
#define TAG_OBJECT   2u /* no entry: the last object of the bucket itself */
#define TAG_BARE     4u /* object, next: entries without a value in tables of Redis 8.0 */
#define CHAIN_MAX    1024
#define AHEAD_BYTES  48 /* of an object: most small ones end before this */
#define EXPIRE_BYTES 8  /* in front of an object */

struct dict_view {
	uintptr_t type;
	uintptr_t table[2];
	uint64_t used[2];
	int64_t rehash_at; /* -1: no rehash under way */
	/* A count of paused rehashes, then the exponents of the table sizes. */
	union {
		struct {
			uint16_t paused;
			int8_t exponent[2];
		} narrow;
		struct { /* Redis 8.6 */
			uint32_t paused;
			int8_t exponent[2];
		} wide;
	};
};

static bool exponents_ok(const int8_t *exponent, int n)
{
	for (int t = 0; t < n; t++)
		if (exponent[t] < 2 || exponent[t] >= 48)
			return false;
	return true;
}

static bool kvobj_open(uintptr_t at, struct beam_peek_table *table)
{
	const int8_t *exponent;
	struct dict_view dict;
	int n;

	if (beam_object_kv_form() == BEAM_KV_NONE ||
	    !beam_read_seen(table->seen, at, &dict, sizeof(dict)) || dict.rehash_at < -1)
		return false;
	table->here = dict.used[0] + dict.used[1];
	table->rehash_at = dict.rehash_at;
	n = !table->here ? 0 : dict.rehash_at == -1 ? 1 : 2;
	/* Where one layout has its exponents, the other has zeros. */
	exponent = exponents_ok(dict.wide.exponent, n) ? dict.wide.exponent : dict.narrow.exponent;
	if (!exponents_ok(exponent, n))
		return false;
	for (int t = 0; t < n; t++) {
		if (!dict.table[t] || dict.table[t] % sizeof(void *))
			return false;
		table->buckets[t] = dict.table[t];
		table->nbuckets[t] = 1ull << exponent[t];
	}
	return true;
}

struct link {
	uintptr_t object, next;
};

/* Decodes the word of a bucket or of an entry. False for an unknown kind. */
static inline bool link_read(uintptr_t tagged, struct link *link)
{
	const uintptr_t *words = (const uintptr_t *)(tagged & ~(uintptr_t)TAG_MASK);

	switch (tagged & TAG_MASK) {
	case TAG_OBJECT:
		*link = (struct link){.object = (uintptr_t)words};
		return true;
	case TAG_ENTRY:
		*link = (struct link){.object = words[1], .next = words[0]};
		break;
	case TAG_BARE:
		*link = (struct link){.object = words[0], .next = words[1]};
		break;
	default:
		return false;
	}
	return link->object && link->object % sizeof(void *) == 0;
}

static bool link_read_safely(const struct beam_peek_table *table, uintptr_t tagged,
			     struct link *link)
{
	return beam_seen_there(table->seen, (const void *)(tagged & ~(uintptr_t)TAG_MASK),
			       2 * sizeof(uintptr_t)) &&
	       link_read(tagged, link);
}

static bool bucket_read(const struct beam_peek_table *table, int t, uint64_t b, uintptr_t *first)
{
	return beam_read_seen(table->seen, table->buckets[t] + b * sizeof(*first), first,
			      sizeof(*first));
}

static bool is_named(const struct beam_peek_table *table, uintptr_t object, const char *name,
		     size_t name_bytes)
{
	const char *key;

	return beam_seen_there(table->seen, (const void *)object, BEAM_OBJECT_NEAR_BYTES) &&
	       beam_object_kv_key(beam_object_kv_form(), (const unsigned char *)object, &key) &&
	       peek_is_name(table, (uintptr_t)key, name, name_bytes);
}

static bool kvobj_has(const struct beam_peek_table *table, int t, uint64_t b, uintptr_t value,
		      const char *name, size_t name_bytes)
{
	struct link link;
	uintptr_t at;

	if (!bucket_read(table, t, b, &at))
		return false;
	for (unsigned depth = 0; at && depth < PEEK_BUCKET; depth++, at = link.next) {
		if (!link_read_safely(table, at, &link))
			return false;
		if (link.object == value)
			return is_named(table, value, name, name_bytes);
	}
	return false;
}

static unsigned kvobj_count(const struct beam_peek_table *table, int t, uint64_t b)
{
	struct link link;
	uintptr_t at;
	unsigned n = 0;

	if (!bucket_read(table, t, b, &at))
		return PEEK_BUCKET + 1;
	for (; at && n <= PEEK_BUCKET; at = link.next, n++)
		if (!link_read_safely(table, at, &link))
			return PEEK_BUCKET + 1;
	return n;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Objects and entries that have been found and prefetched. The entries lead to more objects. */
struct walk {
	struct beam_peek_table *table;
	enum beam_kv_form form;
	beam_open_key_fn *each;
	void *arg;
	struct peek_entry objects[PEEK_BATCH];
	uintptr_t entries[PEEK_BATCH];
	unsigned nobjects, nentries;
};

static int emit_objects(struct walk *walk)
{
	unsigned n = walk->nobjects;

	walk->nobjects = 0;
	for (unsigned i = 0; i < n; i++) {
		struct peek_entry *entry = &walk->objects[i];
		uintptr_t data = ((const uintptr_t *)entry->value)[1];

		if (!beam_object_kv_key(walk->form, (const unsigned char *)entry->value,
					&entry->name))
			return -1;
		/* Integers have no address here, and short strings were prefetched with their
		 * objects. */
		__builtin_prefetch((const void *)(data - 8));
		__builtin_prefetch((const void *)(data + 56));
	}
	return peek_emit(walk->table, walk->objects, n, walk->each, walk->arg);
}

static int add_object(struct walk *walk, uintptr_t object)
{
	__builtin_prefetch((const void *)object);
	__builtin_prefetch((const void *)(object + AHEAD_BYTES));
	if (walk->table->may_expire)
		__builtin_prefetch((const void *)(object - EXPIRE_BYTES));
	/* The server reads the expiry time from the object itself through a handle: that is as fast
	 * as reading it here, and needs no proof. */
	walk->objects[walk->nobjects++] = (struct peek_entry){.value = object};
	return walk->nobjects < PEEK_BATCH ? 0 : emit_objects(walk);
}

/* Adds what the word of a bucket or of an entry points to. There must be room for one more
 * entry. */
static int add(struct walk *walk, uintptr_t tagged)
{
	uintptr_t at = tagged & ~(uintptr_t)TAG_MASK;

	if ((tagged & TAG_MASK) == TAG_OBJECT)
		return add_object(walk, at);
	__builtin_prefetch((const void *)at);
	walk->entries[walk->nentries++] = tagged;
	return 0;
}

/* Advances by one link in the chain of each pending entry. */
static int follow_entries(struct walk *walk)
{
	unsigned n = walk->nentries;

	walk->nentries = 0;
	for (unsigned i = 0; i < n; i++) {
		struct link link;

		if (!link_read(walk->entries[i], &link))
			return -1;
		int err = add_object(walk, link.object);

		if (!err && link.next)
			err = add(walk, link.next);
		if (err)
			return err;
	}
	return 0;
}

static int follow_all(struct walk *walk)
{
	int err = 0;

	for (unsigned depth = 0; walk->nentries && !err; depth++)
		err = depth < CHAIN_MAX ? follow_entries(walk) : -1;
	return err;
}

static int range_walk(struct walk *walk, const struct peek_range *range)
{
	const uintptr_t *from = (const uintptr_t *)range->buckets + range->first;
	int err = 0;

	for (uint64_t b = 0; b < range->n && !err; b++) {
		if (from[b])
			err = add(walk, from[b]);
		if (!err && walk->nentries == PEEK_BATCH)
			err = follow_all(walk);
	}
	return err;
}

static int kvobj_walk(struct beam_peek_table *table, struct peek_part *part, beam_open_key_fn *each,
		      void *arg)
{
	struct walk walk = {
	    .table = table, .form = beam_object_kv_form(), .each = each, .arg = arg};
	struct peek_range range;
	int more, err = 0;

	while (!err && (more = peek_next_range(table, part, &range)) != 0)
		err = more < 0 ? more : range_walk(&walk, &range);
	if (!err)
		err = follow_all(&walk);
	return err ? err : emit_objects(&walk);
}

const struct peek_layout peek_kvobj = {
    .walked = BEAM_TABLE_OBJECTS,
    .open = kvobj_open,
    .has = kvobj_has,
    .count = kvobj_count,
    .walk = kvobj_walk,
};
