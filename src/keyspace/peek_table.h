/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A database's hash table by private layout, walked bucket after bucket with the memory of the keys
 * to come fetched ahead: a scan of small keys waits for memory and little else, and the public scan
 * can only wait for one key at a time. Layout (source: kvstore.c, server.h of Redis 7.0.15, 7.2.6,
 * 7.4.1, Valkey 8.0.1, 8.1; peek_chain.c, peek_kvobj.c, peek_bucket.c): found by looking, with reads that cannot
 * fault; then believed only after some dozens of buckets were compared with what RM_Scan says of them; and the
 * caller compares the number of keys with DBSIZE in the end. In mid-rehash there are two tables, and
 * each key is in one of them. In a forked child, where they are frozen. One thread.
 */
#ifndef BEAM_PEEK_TABLE_H
#define BEAM_PEEK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "open_key.h"
#include "read_ways.h"
#include "redis_api.h"

struct peek_layout;

#define BEAM_PEEK_LARGE 64 /* a slot that has more than a 64th of the keys is large */

/* Told of a value some keys before its turn. Its head is on its way. */
typedef void beam_coming_value_fn(void *arg, const void *object);

struct beam_peek_table {
	const struct peek_layout *layout;
	const uintptr_t *slots; /* of a cluster: where the tables are, or 0; NULL: there is one */
	uint16_t large
	    [BEAM_PEEK_LARGE]; /* slots that have so much of all that every part shares in them */
	unsigned nlarge;
	/* Of the table, or of the slot that was looked at last: */
	uintptr_t buckets[2]; /* where the arrays lie */
	uint64_t nbuckets[2]; /* powers of two; the second is 0 but in mid-rehash */
	uint64_t here;        /* keys */
	int64_t rehash_at;    /* how far a rehash has come; -1: none under way */
	uintptr_t at;         /* where the table is; 0: there is one for each slot */
	bool may_expire;
	beam_coming_value_fn *coming; /* what the walk's `arg` goes with; NULL: none */
	/* A key handle as the scan makes it; name and value are put in for each key. */
	uint64_t handle[64];
	uint64_t name[2];
};

/* 0 to go on. Not 0 ends the walk. */
typedef int beam_open_key_fn(void *arg, const struct beam_open_key *key);

/* What is looked for in the selected database. */
struct beam_peek_facts {
	uint64_t keys;    /* > 0 */
	uint64_t expires; /* keys with a TTL */
	bool by_slot;     /* there is a table for each of a cluster's slots */
	bool known;       /* another database's table has been proved: a short proof will do */
};

/* Opens the table of the selected database. False: not there, or not as expected. */
bool beam_peek_table_open(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor,
			  const struct beam_peek_facts *facts, struct beam_peek_table *table);

/* Which of the layouts it is. */
enum beam_table_walk beam_peek_table_kind(const struct beam_peek_table *table);

/* Walks part `number` of `parts`: that share of the table's buckets, or of a cluster's slots and
 * of each large one's buckets. 0, what `each` returned, or BEAM_E_MOVED where lookups of the caller's have
 * moved keys (Redis 7.0.0 goes on with a rehash in a child): some may have been missed, and others seen twice. */
int beam_peek_table_walk(struct beam_peek_table *table, uint32_t number, uint32_t parts,
			 beam_open_key_fn *each, void *arg);

#endif
