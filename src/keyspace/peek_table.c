/* SPDX-License-Identifier: BSD-3-Clause
 * Finds a database's hash table, proves its layout against RM_Scan, and hands out its keys. */
#include "peek_table.h"

#include <string.h>

#include "own_memory.h"
#include "partition.h"
#include "peek_layout.h"
#include "rdbeam/error.h"
#include "sds_length.h"

#define PROOF_KEYS   48   /* keys to compare with RM_Scan before a layout is trusted */
#define SHORT_KEYS   4    /* the same, once another database's table has been proved */
#define PROOF_STEPS  4096 /* buckets to look at for these keys, at most */
#define PROOF_RATIO  1024 /* largest ratio of the two tables' sizes in mid-rehash */
#define STORE_WORDS  96   /* words of a kvstore that are searched for its list of tables */
#define VALUE_WORD   3    /* of a key handle: ctx, db, name, value, iterator, mode */
#define NAME_WORD    2
#define DB_WORD      1
#define HANDLE_WORDS 6
#define COMING       8 /* how many keys ahead a value is announced */

/* peek_kvobj resembles peek_chain, but can tell itself from it, so it is tried first. */
static const struct peek_layout *const layouts[] = {&peek_kvobj, &peek_chain, &peek_bucket};

/* ---- finding -------------------------------------------------------------------------------- */

static bool open_at(uintptr_t at, struct beam_peek_table *table)
{
	if (!at || at % sizeof(void *))
		return false;
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		table->nbuckets[0] = table->nbuckets[1] = 0;
		if (!layouts[i]->open(at, table))
			continue;
		table->layout = layouts[i];
		return true;
	}
	return false;
}

/* In mid-rehash with such different sizes a proof would take too long. */
static bool too_unequal(const struct beam_peek_table *table)
{
	return table->nbuckets[1] && (table->nbuckets[0] / PROOF_RATIO > table->nbuckets[1] ||
				      table->nbuckets[1] / PROOF_RATIO > table->nbuckets[0]);
}

static bool holds_all(uintptr_t at, uint64_t keys, struct beam_peek_table *table)
{
	table->at = at;
	return open_at(at, table) && table->here == keys && !too_unequal(table);
}

/* Opens the table of a slot. A slot without keys may have none. */
static bool open_slot(struct beam_peek_table *table, uint32_t slot)
{
	uintptr_t at = table->slots[slot];

	table->nbuckets[0] = table->nbuckets[1] = table->here = 0;
	return !at || (at % sizeof(void *) == 0 && table->layout->open(at, table));
}

/* Whether there is the list of a cluster's tables at this address: one per slot, with all keys in
 * them. */
static bool holds_slots(uintptr_t at, uint64_t keys, struct beam_peek_table *table)
{
	uint64_t total = 0;

	if (!at || at % sizeof(void *) ||
	    !beam_memory_there((const void *)at, BEAM_CLUSTER_SLOTS * sizeof(uintptr_t)))
		return false;
	table->slots = (const uintptr_t *)at;
	table->at = 0;
	table->nlarge = 0;
	for (uint32_t slot = 0; slot < BEAM_CLUSTER_SLOTS && total <= keys; slot++) {
		if (!open_slot(table, slot) || too_unequal(table))
			return false;
		total += table->here;
		if (table->here > keys / BEAM_PEEK_LARGE && table->nlarge < BEAM_PEEK_LARGE)
			table->large[table->nlarge++] = (uint16_t)slot;
	}
	return total == keys;
}

static bool find_slots(uintptr_t at, uint64_t keys, struct beam_peek_table *table)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		table->layout = layouts[i];
		if (holds_slots(at, keys, table))
			return true;
	}
	return false;
}

/* Whether a word of a kvstore (Redis 7.4, Valkey 8) points to its list of tables; without cluster
 * mode the list's only table is opened. */
static bool is_in_store(uintptr_t word, const struct beam_peek_facts *facts,
			struct beam_peek_table *table)
{
	uintptr_t first;

	if (!word || word % sizeof(void *) ||
	    !beam_read_seen(table->seen, word, &first, sizeof(first)))
		return false;
	return facts->by_slot ? find_slots(word, facts->keys, table)
			      : holds_all(first, facts->keys, table);
}

/* The first word of a database points to its table or to a kvstore. */
static bool find_table(uintptr_t db, const struct beam_peek_facts *facts,
		       struct beam_peek_table *table)
{
	static size_t last; /* the word that led to the last table */
	uintptr_t first, words[STORE_WORDS];

	if (!beam_read_seen(table->seen, db, &first, sizeof(first)))
		return false;
	if (!facts->by_slot && holds_all(first, facts->keys, table))
		return true;
	for (size_t n = STORE_WORDS; n >= 16; n /= 2) {
		if (!beam_read_seen(table->seen, first, words, n * sizeof(words[0])))
			continue;
		/* It is the same word in all databases. */
		if (facts->known && last < n && is_in_store(words[last], facts, table))
			return true;
		for (size_t i = 0; i < n; i++) {
			last = i;
			if (is_in_store(words[i], facts, table))
				return true;
		}
		return false;
	}
	return false;
}

/* ---- proof ---------------------------------------------------------------------------------- */

struct proof {
	struct beam_peek_table *table;
	/* of the smaller table; a step also covers all buckets of the larger one that it splits
	 * into */
	uint64_t bucket;
	unsigned seen, total;
	bool failed, have_handle;
};

static uint64_t smaller_size(const struct beam_peek_table *table)
{
	uint64_t a = table->nbuckets[0], b = table->nbuckets[1];

	return b && b < a ? b : a;
}

bool peek_is_name(const struct beam_peek_table *table, uintptr_t at, const char *name,
		  size_t name_bytes)
{
	unsigned char kind;
	size_t head, len;

	if (!beam_read_seen(table->seen, at - 1, &kind, 1))
		return false;
	head = beam_sds_head_bytes(kind);
	return head && beam_seen_there(table->seen, (const void *)(at - head), head + name_bytes) &&
	       beam_sds_length((const unsigned char *)at, &len) && len == name_bytes &&
	       memcmp((const void *)at, name, len) == 0;
}

static bool in_step(const struct proof *proof, uintptr_t value, const char *name, size_t name_bytes)
{
	const struct beam_peek_table *table = proof->table;
	uint64_t step = smaller_size(table);

	for (int t = 0; t < 2; t++)
		for (uint64_t b = proof->bucket; b < table->nbuckets[t]; b += step)
			if (table->layout->has(table, t, b, value, name, name_bytes))
				return true;
	return false;
}

static unsigned step_length(const struct proof *proof)
{
	const struct beam_peek_table *table = proof->table;
	uint64_t step = smaller_size(table);
	unsigned n = 0;

	for (int t = 0; t < 2; t++)
		for (uint64_t b = proof->bucket; b < table->nbuckets[t]; b += step)
			n += table->layout->count(table, t, b);
	return n;
}

static void on_proof_key(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleKey *key,
			 void *arg)
{
	struct proof *proof = arg;
	const uintptr_t *words = (const uintptr_t *)(const void *)key;
	size_t name_bytes;
	const char *text = RedisModule_StringPtrLen(name, &name_bytes);

	(void)ctx;
	if (!key || proof->failed)
		return;
	if (!proof->have_handle) {
		memcpy(proof->table->handle, key, HANDLE_WORDS * sizeof(uint64_t));
		memcpy(proof->table->name, name, sizeof(proof->table->name));
		proof->have_handle = true;
	}
	proof->seen++;
	proof->total++;
	if (proof->table->layout && !in_step(proof, words[VALUE_WORD], text, name_bytes))
		proof->failed = true;
}

/* Finds the bucket at which a step of the scan begins, by the cursor. In a cluster the lowest bits
 * of the cursor are the slot. */
static bool go_to(struct proof *proof, const RedisModuleScanCursor *cursor)
{
	struct beam_peek_table *table = proof->table;
	uint64_t at;

	memcpy(&at, cursor, sizeof(at));
	if (table->layout && table->slots) {
		if (!open_slot(table, at % BEAM_CLUSTER_SLOTS))
			return false;
		at /= BEAM_CLUSTER_SLOTS;
	}
	proof->bucket = at & (smaller_size(table) - 1);
	proof->seen = 0;
	return true;
}

/* Steps through the scan and compares the keys of each step with the buckets according to the
 * layout. */
static bool prove(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor, struct proof *proof,
		  unsigned want)
{
	RedisModule_ScanCursorRestart(cursor);
	for (unsigned steps = 0; steps < PROOF_STEPS && proof->total < want; steps++) {
		if (!go_to(proof, cursor))
			return false;
		int more = RedisModule_Scan(ctx, cursor, on_proof_key, proof);

		if (proof->table->layout && (proof->failed || proof->seen != step_length(proof)))
			return false;
		if (!more)
			break;
	}
	return proof->have_handle && !proof->failed;
}

bool beam_peek_table_open(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor,
			  const struct beam_peek_facts *facts, struct beam_peek_table *table)
{
	struct proof proof = {.table = table};
	const unsigned want = facts->known ? SHORT_KEYS : PROOF_KEYS;
	struct beam_memory_seen seen = {0};

	memset(table, 0, sizeof(*table));
	table->nbuckets[0] = 1;
	if (!prove(ctx, cursor, &proof, 1)) /* the first key's handle leads to the database */
		return false;
	table->seen = facts->known ? &seen : NULL;
	bool proved = find_table((uintptr_t)table->handle[DB_WORD], facts, table);

	/* A scan may continue a rehash, and free the old table in the end. */
	if (table->rehash_at != -1)
		table->seen = NULL;
	table->may_expire = facts->expires != 0;
	proof = (struct proof){.table = table};
	proved = proved && prove(ctx, cursor, &proof, want);
	table->seen = NULL;
	return proved && proof.total >= (facts->keys < want ? facts->keys : want);
}

/* ---- the walk ------------------------------------------------------------------------------- */

static void tell_coming(const struct beam_peek_table *table, const struct peek_entry *entry,
			void *arg)
{
	if (table->coming)
		table->coming(arg, (const void *)entry->value);
}

int peek_emit(struct beam_peek_table *table, const struct peek_entry *entries, unsigned n,
	      beam_open_key_fn *each, void *arg)
{
	struct beam_open_key key = {.handle = (RedisModuleKey *)(void *)table->handle,
				    .may_expire = table->may_expire};

	table->handle[NAME_WORD] = (uintptr_t)table->name;
	for (unsigned i = 0; i < COMING && i < n; i++)
		tell_coming(table, &entries[i], arg);
	for (unsigned i = 0; i < n; i++) {
		const struct peek_entry *entry = &entries[i];

		if (i + COMING < n)
			tell_coming(table, entry + COMING, arg);
		key.name = entry->name;
		if (!beam_sds_length((const unsigned char *)entry->name, &key.name_bytes))
			return -1;
		key.knows_expire = entry->knows_expire;
		key.expire_ms = entry->expire_ms;
		table->name[1] = (uintptr_t)entry->name;
		table->handle[VALUE_WORD] = entry->value;
		int err = each(arg, &key);

		if (err)
			return err;
	}
	return 0;
}

enum beam_table_walk beam_peek_table_kind(const struct beam_peek_table *table)
{
	return table->layout->walked;
}

static bool is_large(const struct beam_peek_table *table, uint32_t slot)
{
	for (unsigned i = 0; i < table->nlarge; i++)
		if (table->large[i] == slot)
			return true;
	return false;
}

/* Opens the next table of a part. 1; 0 if there are no more; -1 if it cannot be opened. */
static int next_table(struct beam_peek_table *table, struct peek_part *part)
{
	uint32_t slot;

	do {
		part->shared = part->slot == part->end;
		if (part->shared && part->large == table->nlarge)
			return 0;
		slot = part->shared ? table->large[part->large++] : part->slot++;
	} while (!part->shared && is_large(table, slot));
	part->t = 0;
	return open_slot(table, slot) ? 1 : -1;
}

int peek_next_range(struct beam_peek_table *table, struct peek_part *part, struct peek_range *range)
{
	for (;;) {
		uint64_t number = part->shared ? part->number : 0;
		uint64_t parts = part->shared ? part->parts : 1;

		for (; part->t < 2; part->t++) {
			uint64_t n = table->nbuckets[part->t];

			range->buckets = table->buckets[part->t];
			range->first = n * number / parts;
			range->n = n * (number + 1) / parts - range->first;
			if (range->n) {
				part->t++;
				return 1;
			}
		}
		int more = table->slots ? next_table(table, part) : 0;

		if (more <= 0)
			return more;
	}
}

/* Whether the table did not move during the walk. Servers with one table per slot do not rehash in
 * a child. */
static bool is_still(const struct beam_peek_table *table)
{
	struct beam_peek_table now = {.at = table->at};

	return !table->at ||
	       (table->layout->open(table->at, &now) && now.rehash_at == table->rehash_at);
}

int beam_peek_table_walk(struct beam_peek_table *table, uint32_t number, uint32_t parts,
			 beam_open_key_fn *each, void *arg)
{
	struct peek_part part = {.number = number, .parts = parts, .shared = true};

	if (table->slots) {
		part.t = 2; /* no table is open yet */
		part.slot = BEAM_CLUSTER_SLOTS * number / parts;
		part.end = BEAM_CLUSTER_SLOTS * (number + 1) / parts;
	}
	int err = table->layout->walk(table, &part, each, arg);

	return err || is_still(table) ? err : BEAM_E_MOVED;
}
