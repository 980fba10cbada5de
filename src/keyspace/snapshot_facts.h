/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a forked child must know of its server before it copies the keyspace. It is read once, in
 * the child, so that all of it is as of the fork.
 */
#ifndef BEAM_SNAPSHOT_FACTS_H
#define BEAM_SNAPSHOT_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "module_aux.h"
#include "partition.h"
#include "record.h"

struct beam_db_facts {
	uint32_t db;
	uint64_t keys, expires;
};

struct beam_facts {
	bool is_valkey;
	char version[16];    /* "7.0.15", "8.0.1" */
	bool chained_tables; /* buckets are chains of entries: Redis, Valkey before 8.1 */
	bool cluster;
	bool tells_slot_task; /* its dumps tell of slot migrations (Redis 8.4) */
	/* There are keys of slots that are not this node's: INFO counts them, a scan does not
	 * return them. */
	bool hides_keys;
	bool is_replica;
	bool replica_waits; /* a replica waits for this very dump (disk-based sync) */
	char replid[41];    /* "" without a backlog */
	int64_t offset;
	/* Offset of the oldest byte in the replication backlog; 0: not known. */
	int64_t backlog_first;
	int64_t stream_db;    /* selected in the stream at the fork; from the parent (cut.h) */
	bool tells_stream_db; /* whoever loads the dump continues in that database */
	uint64_t used_memory;
	enum beam_eviction eviction;
	bool other_modules;
	struct beam_aux_types aux_types; /* save_aux.h */
	bool key_metadata;               /* some other module may keep it (key_metadata.h) */
	long save_delay_us;
	int64_t min_replicas_to_write;
	enum beam_partition partition;
	uint32_t ndbs; /* databases with keys */
	struct beam_db_facts *dbs;
	uint64_t keys; /* in all databases */
	uint16_t rdb_version;
	char *functions; /* FUNCTION DUMP payload without its footer */
	size_t functions_bytes;
};

/* Reads all facts. 0, -ENOMEM, or BEAM_E_SERVER; on failure with a text in `why` (at least 256
 * bytes), and nothing to free. */
int beam_facts_read(RedisModuleCtx *ctx, struct beam_facts *facts, char *why);
/* Whether DUMP can be called. False: it was renamed and its new name is not known. Some values can
 * only be read by it. */
bool beam_facts_has_dump(RedisModuleCtx *ctx);

/* Frees the lists that beam_facts_read has allocated. Idempotent. */
void beam_facts_free(struct beam_facts *facts);

/* Whether it is known how a file of this server's RDB version begins and what may stand between its
 * keys. Redis has changed neither since version 9. Valkey has had its own beginning since version
 * 80. */
bool beam_facts_format_known(const struct beam_facts *facts);

/* Whether the server is Valkey, according to its INFO. */
bool beam_server_is_valkey(RedisModuleCtx *ctx);

/* Whether slots are moving between nodes (Valkey 9, CLUSTER MIGRATESLOTS; Redis 8.4, CLUSTER
 * MIGRATION), or there are keys whose slots are another node's, which the server hides. A stock
 * dump has such keys, and says what is to become of them. An image cannot. */
bool beam_facts_slots_move(RedisModuleCtx *ctx, const struct beam_facts *facts);

/* On a replica: the database selected in the stream that it receives, even while the link to its
 * primary is down; -1 if it has no stream to continue, or if it cannot be found out. Do not call it
 * in a child: it may fall back to CLIENT LIST, for which the server waits for threads that do not
 * exist after a fork. */
int64_t beam_facts_primary_stream_db(RedisModuleCtx *ctx);

/* Whether a replica waits for a snapshot, according to INFO replication. */
bool beam_facts_replica_waits(RedisModuleServerInfoData *replication);

/* Copies the value of CONFIG GET `name` to `out` (`cap` bytes); "" if there is none. False if it
 * did not fit, if the server has no such setting, or if CONFIG was renamed and its new name is not
 * known. */
bool beam_config_get(RedisModuleCtx *ctx, const char *name, char *out, size_t cap);

/* Sets a configuration parameter in this process. */
void beam_config_set(RedisModuleCtx *ctx, const char *name, const char *value);

#endif
