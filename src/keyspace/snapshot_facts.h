/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a fork child must know of its server before it copies the keyspace: read once, in the child,
 * so that everything is as of the fork.
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
	bool chained_tables; /* a bucket is a chain of entries: Redis, and Valkey before 8.1 */
	bool cluster;
	bool tells_slot_task; /* in its dumps (Redis 8.4) */
	bool hides_keys; /* of slots that are not this node's: INFO counts them, a scan does not */
	bool is_replica;
	bool replica_waits; /* a replica waits for this very dump (disk-based sync) */
	char replid[41];    /* "" without a backlog */
	int64_t offset;
	int64_t
	    backlog_first; /* offset of the oldest byte of the stream that is kept; 0: not known */
	int64_t stream_db; /* of the stream at the fork, told by the parent (cut.h) */
	bool tells_stream_db; /* whoever loads the dump goes on in that database */
	uint64_t used_memory;
	enum beam_eviction eviction;
	bool other_modules;
	struct beam_aux_types aux_types; /* save_aux.h */
	bool key_metadata;               /* some other module may keep it (key_metadata.h) */
	long save_delay_us;
	int64_t min_replicas_to_write;
	enum beam_partition partition;
	uint32_t ndbs; /* that hold keys */
	struct beam_db_facts *dbs;
	uint64_t keys; /* of all databases */
	uint16_t rdb_version;
	char *functions; /* FUNCTION DUMP payload without footer */
	size_t functions_bytes;
};

/* 0, -ENOMEM, or BEAM_E_SERVER with a text in `why` (room for 256 bytes). */
int beam_facts_read(RedisModuleCtx *ctx, struct beam_facts *facts, char *why);
/* False: DUMP is renamed, by which values are read that no other way is known for. */
bool beam_facts_has_dump(RedisModuleCtx *ctx);

void beam_facts_free(struct beam_facts *facts);

/* Whether it is known how a file of this server's RDB version begins and what may stand between the
 * keys. Redis has kept both since version 9; Valkey took a beginning of its own with version 80. */
bool beam_facts_format_known(const struct beam_facts *facts);

/* Whether the server is Valkey, by its INFO. */
bool beam_server_is_valkey(RedisModuleCtx *ctx);

/* Whether slots are just moving between nodes (Valkey 9, CLUSTER MIGRATESLOTS; Redis 8.4, CLUSTER MIGRATION),
 * or keys are there whose slots are another node's, and the server hides them: a stock dump has such
 * keys, and says what becomes of them. An image cannot. */
bool beam_facts_slots_move(RedisModuleCtx *ctx, const struct beam_facts *facts);

/* On a replica: the database selected in the stream that it receives, also while the link to its primary is down; -1 if it has none
 * to go on with, or it is not told. Not in a child: before the list of clients, which is asked for where there is no other
 * way, a server waits for threads that a fork leaves behind. */
int64_t beam_facts_primary_stream_db(RedisModuleCtx *ctx);

/* Whether a replica waits for a snapshot, by the server's INFO replication. */
bool beam_facts_replica_waits(RedisModuleServerInfoData *replication);

/* Value of CONFIG GET `name` copied to `out`; "" if there is none. False: it did not fit, the server has
 * no such setting, or CONFIG is renamed (rename-command) and nothing is known of it. */
bool beam_config_get(RedisModuleCtx *ctx, const char *name, char *out, size_t cap);

/* Sets it in this process. */
void beam_config_set(RedisModuleCtx *ctx, const char *name, const char *value);

#endif
