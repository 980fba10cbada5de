/* SPDX-License-Identifier: BSD-3-Clause
 * Finding the table, proving it against RM_Scan, and the walk that fetches ahead. */
#include "peek_table.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sds_length.h"

#define PROOF_KEYS   48   /* compared with RM_Scan before the layout is believed */
#define PROOF_STEPS  4096 /* buckets looked at for them, at most */
#define PROOF_BUCKET 32   /* keys of one bucket that can be compared */
#define PROOF_RATIO  1024 /* buckets of one table in mid-rehash to one of the other, at most */
#define STORE_WORDS  96   /* of a kvstore, in which its list of tables is looked for */
#define BATCH        64   /* keys in flight */
#define VALUE_WORD   3    /* of a key handle: ctx, db, name, value, iterator, mode */
#define NAME_WORD    2
#define DB_WORD      1
#define HANDLE_WORDS 6
#define TAG_MASK     7u
#define TAG_NORMAL   0u /* key, value, next */
#define TAG_EMBEDDED 4u /* value, next, header size, key */

struct dict_view {
	uintptr_t type;
	uintptr_t table[2];
	uint64_t used[2];
	int64_t rehash_at; /* -1: none under way */
	int16_t paused;
	int8_t exponent[2];
	int32_t rest;
};

struct entry {
	uintptr_t value, next;
	const char *key;
};

/* Reads own memory; false instead of a fault when there is none. */
static bool read_memory(uintptr_t from, void *to, size_t len_bytes)
{
	struct iovec local = {to, len_bytes};
	struct iovec remote = {(void *)from, len_bytes};

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len_bytes;
}

static bool read_dict(uintptr_t at, uint64_t keys, struct dict_view *dict)
{
	return at && at % sizeof(void *) == 0 && read_memory(at, dict, sizeof(*dict)) &&
	       dict->used[0] + dict->used[1] == keys && dict->table[0] && dict->exponent[0] >= 2 &&
	       dict->exponent[0] < 48 &&
	       (dict->rehash_at == -1 || (dict->rehash_at >= 0 && dict->table[1] &&
					  dict->exponent[1] >= 2 && dict->exponent[1] < 48));
}

/* A database's first word is its dict, or (7.4, Valkey 8) a store with a list of dicts. */
static bool find_dict(uintptr_t db, uint64_t keys, struct dict_view *dict)
{
	uintptr_t first, words[STORE_WORDS], candidate;

	if (!read_memory(db, &first, sizeof(first)))
		return false;
	if (read_dict(first, keys, dict))
		return true;
	for (size_t n = STORE_WORDS; n >= 16; n /= 2) {
		if (!read_memory(first, words, n * sizeof(words[0])))
			continue;
		for (size_t i = 0; i < n; i++)
			if (words[i] && words[i] % sizeof(void *) == 0 &&
			    read_memory(words[i], &candidate, sizeof(candidate)) &&
			    read_dict(candidate, keys, dict))
				return true;
		return false;
	}
	return false;
}

/* Takes a tagged pointer apart. False for a kind of entry that is not known. */
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

/* ---- proof ---------------------------------------------------------------------------------- */

struct proof {
	struct beam_peek_table *table;
	uint64_t bucket; /* of the smaller table; its step also covers all those of the larger
			  * table that it splits into */
	unsigned seen, total;
	bool failed, have_handle;
};

static uint64_t smaller_size(const struct beam_peek_table *table)
{
	uint64_t a = table->nbuckets[0], b = table->nbuckets[1];

	return b && b < a ? b : a;
}

/* The entry with this value must be in the bucket at `at`, under this name. */
static bool in_bucket(uintptr_t at, uintptr_t value, const char *name, size_t name_bytes)
{
	struct entry entry;
	size_t len;

	for (int depth = 0; at && depth < PROOF_BUCKET; depth++, at = entry.next) {
		uintptr_t words[3];

		if (!read_memory(at & ~(uintptr_t)TAG_MASK, words, sizeof(words)) ||
		    !entry_read(at, &entry))
			return false;
		if (entry.value != value)
			continue;
		return beam_sds_length((const unsigned char *)entry.key, &len) &&
		       len == name_bytes && memcmp(entry.key, name, len) == 0;
	}
	return false;
}

static bool in_step(const struct proof *proof, uintptr_t value, const char *name, size_t name_bytes)
{
	const struct beam_peek_table *table = proof->table;
	uint64_t step = smaller_size(table);

	for (int t = 0; t < 2; t++)
		for (uint64_t b = proof->bucket; b < table->nbuckets[t]; b += step)
			if (in_bucket(table->buckets[t][b], value, name, name_bytes))
				return true;
	return false;
}

static unsigned step_length(const struct proof *proof)
{
	const struct beam_peek_table *table = proof->table;
	uint64_t step = smaller_size(table);
	struct entry entry;
	unsigned n = 0;

	for (int t = 0; t < 2; t++)
		for (uint64_t b = proof->bucket; b < table->nbuckets[t]; b += step)
			for (uintptr_t at = table->buckets[t][b]; at && entry_read(at, &entry);
			     at = entry.next)
				n++;
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
	if (proof->table->buckets[0] && !in_step(proof, words[VALUE_WORD], text, name_bytes))
		proof->failed = true;
}

/* Steps through buckets by RM_Scan and compares each with what the layout says of it. */
static bool prove(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor, struct proof *proof,
		  unsigned want)
{
	RedisModule_ScanCursorRestart(cursor);
	for (unsigned steps = 0; steps < PROOF_STEPS && proof->total < want; steps++) {
		uint64_t at;

		memcpy(&at, cursor, sizeof(at));
		proof->bucket = at & (smaller_size(proof->table) - 1);
		proof->seen = 0;
		int more = RedisModule_Scan(ctx, cursor, on_proof_key, proof);

		if (proof->table->buckets[0] &&
		    (proof->failed || proof->seen != step_length(proof)))
			return false;
		if (!more)
			break;
	}
	return proof->have_handle && !proof->failed;
}

/* Takes the tables over. False if one is so much larger that a proof would take long. */
static bool set_tables(struct beam_peek_table *table, const struct dict_view *dict)
{
	table->nbuckets[1] = 0;
	for (int t = 0; t < (dict->rehash_at == -1 ? 1 : 2); t++) {
		table->buckets[t] = (uintptr_t *)dict->table[t];
		table->nbuckets[t] = 1ull << dict->exponent[t];
	}
	return !table->nbuckets[1] || (table->nbuckets[0] / PROOF_RATIO <= table->nbuckets[1] &&
				       table->nbuckets[1] / PROOF_RATIO <= table->nbuckets[0]);
}

bool beam_peek_table_open(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor, uint64_t keys,
			  uint64_t expires, struct beam_peek_table *table)
{
	struct proof proof = {.table = table};
	struct dict_view dict;

	memset(table, 0, sizeof(*table));
	table->nbuckets[0] = 1;
	if (!prove(ctx, cursor, &proof, 1)) /* the first key shows the database */
		return false;
	if (!find_dict((uintptr_t)table->handle[DB_WORD], keys, &dict) || !set_tables(table, &dict))
		return false;
	table->may_expire = expires != 0;
	proof = (struct proof){.table = table};
	if (!prove(ctx, cursor, &proof, PROOF_KEYS))
		return false;
	return proof.total >= (keys < PROOF_KEYS ? keys : PROOF_KEYS);
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Keys under way: entries first, then their keys and value objects, then the values' bytes are
 * fetched, each step for the whole batch before the next. */
struct batch {
	uintptr_t at[BATCH];
	struct entry entry[BATCH];
	unsigned n;
};

static int batch_emit(struct beam_peek_table *table, const struct batch *batch,
		      beam_open_key_fn *each, void *arg)
{
	struct beam_open_key key = {.handle = (RedisModuleKey *)(void *)table->handle,
				    .may_expire = table->may_expire};

	table->handle[NAME_WORD] = (uintptr_t)table->name;
	for (unsigned i = 0; i < batch->n; i++) {
		const struct entry *entry = &batch->entry[i];

		key.name = entry->key;
		if (!beam_sds_length((const unsigned char *)entry->key, &key.name_bytes))
			return -1;
		table->name[1] = (uintptr_t)entry->key;
		table->handle[VALUE_WORD] = entry->value;
		int err = each(arg, &key);

		if (err)
			return err;
	}
	return 0;
}

/* Runs the batch; chained entries become the next batch. Negative on an unknown entry. */
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

			/* For an integer this is no address: fetching it ahead does no harm. */
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

static int walk_buckets(struct beam_peek_table *table, const uintptr_t *from, uint64_t n,
			beam_open_key_fn *each, void *arg)
{
	struct batch batch = {.n = 0};

	for (uint64_t b = 0; b < n; b++) {
		uintptr_t at = from[b];

		if (!at)
			continue;
		__builtin_prefetch((const void *)(at & ~(uintptr_t)TAG_MASK));
		batch.at[batch.n++] = at;
		if (batch.n < BATCH)
			continue;
		int err = batch_run(table, &batch, each, arg);

		if (err)
			return err;
	}
	return batch_run(table, &batch, each, arg);
}

int beam_peek_table_walk(struct beam_peek_table *table, uint32_t part, uint32_t parts,
			 beam_open_key_fn *each, void *arg)
{
	int err = 0;

	for (int t = 0; t < 2 && !err; t++) {
		uint64_t first = table->nbuckets[t] * part / parts;
		uint64_t end = table->nbuckets[t] * (part + 1) / parts;

		if (first < end)
			err =
			    walk_buckets(table, table->buckets[t] + first, end - first, each, arg);
	}
	return err;
}
