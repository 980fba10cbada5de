/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Walks a database's hash table by its private layout, bucket by bucket, and prefetches the memory
 * of the keys to come. A scan of small keys does little but wait for memory, and the public scan
 * waits for one key at a time. Layouts (source: kvstore.c, server.h of Redis 7.0.15, 7.2.6, 7.4.1,
 * Valkey 8.0.1, 8.1; peek_chain.c, peek_kvobj.c, peek_bucket.c) are found by reads that cannot
 * fault. A layout is trusted only after some dozens of buckets were compared with what RM_Scan
 * returns, and at the end the caller compares the number of keys with DBSIZE. In mid-rehash there
 * are two tables, and each key is in one of them. Used in a forked child, where the tables do not
 * change. One thread.
 */
#ifndef BEAM_PEEK_TABLE_H
#define BEAM_PEEK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "open_key.h"
#include "read_ways.h"
#include "redis_api.h"

struct beam_memory_seen;
struct peek_layout;

#define BEAM_PEEK_LARGE 64 /* a slot with more than a 64th of the keys is large */

/* Announces a value some keys before it is handed out. The first bytes of the object have been
 * prefetched. */
typedef void beam_coming_value_fn(void *arg, const void *object);

struct beam_peek_table {
	const struct peek_layout *layout;
	const uintptr_t *slots; /* a cluster's tables (0: a slot has none); NULL: one table */
	uint16_t large[BEAM_PEEK_LARGE]; /* large slots, which all parts share */
	unsigned nlarge;
	/* Of the table, or of the slot that was opened last: */
	uintptr_t buckets[2]; /* addresses of the arrays */
	uint64_t nbuckets[2]; /* powers of two; the second is 0 except in mid-rehash */
	uint64_t here;        /* keys */
	int64_t rehash_at;    /* progress of a rehash; -1: none under way */
	uintptr_t at;         /* address of the table; 0: there is one per slot */
	bool may_expire;
	struct beam_memory_seen *seen; /* while it is opened; NULL: nothing is remembered */
	beam_coming_value_fn *coming;  /* called with the walk's `arg`; NULL: not called */
	/* A key handle as the scan makes it; name and value are filled in for each key. */
	uint64_t handle[64];
	uint64_t name[2];
};

/* Called with each key. Returns 0 to go on; anything else ends the walk. */
typedef int beam_open_key_fn(void *arg, const struct beam_open_key *key);

/* What is known of the selected database. */
struct beam_peek_facts {
	uint64_t keys;    /* > 0 */
	uint64_t expires; /* keys with a TTL */
	bool by_slot;     /* there is one table per cluster slot */
	bool known;       /* another database's table has been proved: a short proof is enough */
};

/* Opens and proves the table of the selected database. False if it was not found or does not match
 * the layout; then *table must not be used. */
bool beam_peek_table_open(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor,
			  const struct beam_peek_facts *facts, struct beam_peek_table *table);

/* Which of the layouts the table has. */
enum beam_table_walk beam_peek_table_kind(const struct beam_peek_table *table);

/* Walks part `number` of `parts`: that share of the table's buckets or, in a cluster, of the slots
 * and of the buckets of each large slot. 0, what `each` returned, -1 for memory that does not match
 * the layout, or BEAM_E_MOVED if the caller's lookups have moved keys (Redis 7.0.0 continues a
 * rehash in a child): then some keys may have been missed, and others seen twice. */
int beam_peek_table_walk(struct beam_peek_table *table, uint32_t number, uint32_t parts,
			 beam_open_key_fn *each, void *arg);

#endif
