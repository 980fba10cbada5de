/* SPDX-License-Identifier: BSD-3-Clause
 * Collects the facts through INFO, CONFIG and DUMP. */
#include "snapshot_facts.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_names.h"
#include "key_metadata.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "save_info.h"

#define VALKEY_AS_REDIS   11 /* up to this version Valkey's format is that of Redis 7.2 */
#define DUMP_FOOTER_BYTES 10
#define SLOT_TASK         "asmDumpActiveImportTask"

static const char CONFIG[] = "CONFIG";

static bool copy_text(char *out, size_t cap, const char *text, size_t len)
{
	bool fits = len < cap;

	if (!fits)
		len = cap - 1;
	memcpy(out, text, len);
	out[len] = 0;
	return fits;
}

/* Newer Redis (8.6, but not 8.0) answers a module without running the command, so SLOWLOG does not
 * show its new name. */
static bool get_by_api(RedisModuleCtx *ctx, const char *name, char *out, size_t cap)
{
	RedisModuleString *value = NULL;
	size_t len;

	if (RedisModule_ConfigGet(ctx, name, &value) != REDISMODULE_OK || !value)
		return false;
	const char *text = RedisModule_StringPtrLen(value, &len);
	bool whole = copy_text(out, cap, text, len);

	RedisModule_FreeString(ctx, value);
	return whole;
}

bool beam_config_get(RedisModuleCtx *ctx, const char *name, char *out, size_t cap)
{
	const char *config = beam_command(CONFIG);
	bool whole = false;
	size_t len;

	out[0] = 0;
	if (config != CONFIG && RedisModule_ConfigGet)
		return get_by_api(ctx, name, out, cap);
	if (!config[0])
		return false;
	RedisModuleCallReply *reply = RedisModule_Call(ctx, config, "cc", "GET", name);

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ARRAY &&
	    RedisModule_CallReplyLength(reply) >= 2) {
		RedisModuleCallReply *value = RedisModule_CallReplyArrayElement(reply, 1);
		const char *text = RedisModule_CallReplyStringPtr(value, &len);

		if (text)
			whole = copy_text(out, cap, text, len);
	}
	if (reply)
		RedisModule_FreeCallReply(reply);
	return whole;
}

static void set_by_api(RedisModuleCtx *ctx, const char *name, const char *value)
{
	RedisModuleString *text, *err = NULL;

	text = RedisModule_CreateString(ctx, value, strlen(value));
	(void)RedisModule_ConfigSet(ctx, name, text, &err);
	RedisModule_FreeString(ctx, text);
	if (err)
		RedisModule_FreeString(ctx, err);
}

void beam_config_set(RedisModuleCtx *ctx, const char *name, const char *value)
{
	const char *config = beam_command(CONFIG);

	if (config != CONFIG && RedisModule_ConfigSet) {
		set_by_api(ctx, name, value);
		return;
	}
	RedisModuleCallReply *reply = RedisModule_Call(ctx, config, "ccc", "SET", name, value);

	if (reply)
		RedisModule_FreeCallReply(reply);
}

static int64_t info_number(RedisModuleServerInfoData *info, const char *field)
{
	const char *text = RedisModule_ServerInfoGetFieldC(info, field);

	return text ? strtoll(text, NULL, 10) : 0;
}

static void info_text(RedisModuleServerInfoData *info, const char *field, char *out, size_t cap)
{
	const char *text = RedisModule_ServerInfoGetFieldC(info, field);

	copy_text(out, cap, text ? text : "", text ? strlen(text) : 0);
}

static void read_server(RedisModuleCtx *ctx, struct beam_facts *facts)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "server");
	unsigned major = 0, minor = 0;

	info_text(info, "valkey_version", facts->version, sizeof(facts->version));
	facts->is_valkey = facts->version[0] != 0;
	if (!facts->is_valkey)
		info_text(info, "redis_version", facts->version, sizeof(facts->version));
	RedisModule_FreeServerInfo(ctx, info);
	info = RedisModule_GetServerInfo(ctx, "cluster");
	facts->cluster = info_number(info, "cluster_enabled") != 0;
	RedisModule_FreeServerInfo(ctx, info);
	facts->tells_slot_task = facts->cluster && dlsym(RTLD_DEFAULT, SLOT_TASK);
	bool known = sscanf(facts->version, "%u.%u", &major, &minor) == 2;

	facts->chained_tables =
	    !facts->is_valkey || (known && (major < 8 || (major == 8 && minor == 0)));
	if (!known)
		facts->partition = BEAM_PARTITION_WHOLE;
	else if (facts->cluster && (major > 7 || (major == 7 && minor >= 4)))
		facts->partition = BEAM_PARTITION_SLOTS;
	else
		facts->partition = BEAM_PARTITION_BITS;
}

bool beam_server_is_valkey(RedisModuleCtx *ctx)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "server");
	char version[16];

	info_text(info, "valkey_version", version, sizeof(version));
	RedisModule_FreeServerInfo(ctx, info);
	return version[0] != 0;
}

static int64_t stream_db_by_list(RedisModuleCtx *ctx)
{
	RedisModuleCallReply *reply =
	    RedisModule_Call(ctx, beam_command("CLIENT"), "ccc", "LIST", "TYPE", "master");
	int64_t db = -1;
	size_t len;

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_STRING) {
		const char *text = RedisModule_CallReplyStringPtr(reply, &len);
		const char *field = memmem(text, len, " db=", 4);

		if (field)
			db = strtol(field + 4, NULL, 10);
	}
	if (reply)
		RedisModule_FreeCallReply(reply);
	return db;
}

int64_t beam_facts_primary_stream_db(RedisModuleCtx *ctx)
{
	int64_t db;

	return beam_save_info_stream_db(&db) ? db : stream_db_by_list(ctx);
}

bool beam_facts_replica_waits(RedisModuleServerInfoData *replication)
{
	int64_t nreplicas = info_number(replication, "connected_slaves");
	char field[32];

	for (int64_t i = 0; i < nreplicas; i++) {
		snprintf(field, sizeof(field), "slave%lld", (long long)i);
		/* Not a copy of bounded length: the state stands behind a name of any length
		 * (replica-announce-ip). */
		const char *text = RedisModule_ServerInfoGetFieldC(replication, field);

		/* By two connections (Redis 8) the stream begins before the child does. */
		if (text && (strstr(text, "state=wait_bgsave") ||
			     strstr(text, "state=send_bulk_and_stream")))
			return true;
	}
	return false;
}

static void read_replication(RedisModuleCtx *ctx, struct beam_facts *facts)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "replication");
	char role[16];

	info_text(info, "role", role, sizeof(role));
	facts->is_replica = strcmp(role, "slave") == 0;
	facts->offset = info_number(info, "master_repl_offset");
	facts->backlog_first = info_number(info, "repl_backlog_first_byte_offset");
	facts->replica_waits = beam_facts_replica_waits(info);
	/* While a replica waits the cut is not marked (cut.c), so nothing can continue from this
	 * image. */
	if (info_number(info, "repl_backlog_active") && !facts->replica_waits)
		info_text(info, "master_replid", facts->replid, sizeof(facts->replid));
	RedisModule_FreeServerInfo(ctx, info);
}

static bool other_modules(RedisModuleCtx *ctx)
{
	RedisModuleCallReply *reply = RedisModule_Call(ctx, beam_command("MODULE"), "c", "LIST");
	bool others = !reply || RedisModule_CallReplyType(reply) != REDISMODULE_REPLY_ARRAY ||
		      RedisModule_CallReplyLength(reply) > 1;

	if (reply)
		RedisModule_FreeCallReply(reply);
	return others;
}

static void read_policy(RedisModuleCtx *ctx, struct beam_facts *facts)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "memory");
	char text[64];

	info_text(info, "maxmemory_policy", text, sizeof(text));
	facts->used_memory = (uint64_t)info_number(info, "used_memory");
	RedisModule_FreeServerInfo(ctx, info);
	facts->eviction = strstr(text, "lru")   ? BEAM_EVICTION_LRU
			  : strstr(text, "lfu") ? BEAM_EVICTION_LFU
						: BEAM_EVICTION_NONE;
	beam_config_get(ctx, "rdb-key-save-delay", text, sizeof(text));
	facts->save_delay_us = strtol(text, NULL, 10);
	beam_config_get(ctx, "min-replicas-to-write", text, sizeof(text));
	facts->min_replicas_to_write = strtoll(text, NULL, 10);
	facts->other_modules = other_modules(ctx);
	facts->key_metadata = facts->other_modules && beam_key_metadata_known();
}

/* What INFO says about each database: as text, or as a dictionary if INFO has another name. The
 * server takes longer to make that dictionary than to copy the keys where there are 20,000
 * databases. */
struct keyspace {
	char *text;       /* owned; NULL: there is only the dictionary */
	const char *rest; /* what was not read yet; its lines are in the databases' order */
	RedisModuleServerInfoData *dictionary;
};

static void keyspace_open(RedisModuleCtx *ctx, struct keyspace *keyspace)
{
	static const char title[] = "# Keyspace";
	RedisModuleCallReply *reply = RedisModule_Call(ctx, "INFO", "c", "keyspace");
	const char *text = NULL;
	size_t len = 0;

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_STRING)
		text = RedisModule_CallReplyStringPtr(reply, &len);
	*keyspace = (struct keyspace){.text = NULL};
	if (text && len >= strlen(title) && memcmp(text, title, strlen(title)) == 0)
		keyspace->text = malloc(len + 1);
	if (keyspace->text) {
		memcpy(keyspace->text, text, len);
		keyspace->text[len] = 0;
	}
	keyspace->rest = keyspace->text;
	if (reply)
		RedisModule_FreeCallReply(reply);
	if (!keyspace->text)
		keyspace->dictionary = RedisModule_GetServerInfo(ctx, "keyspace");
}

static void keyspace_close(RedisModuleCtx *ctx, struct keyspace *keyspace)
{
	free(keyspace->text);
	if (keyspace->dictionary)
		RedisModule_FreeServerInfo(ctx, keyspace->dictionary);
}

/* Finds the line "db7:keys=1,expires=0,..." of a database; databases must be asked for in their
 * order. NULL if there is none. */
static const char *text_line(struct keyspace *keyspace, int db)
{
	const char *line = keyspace->rest;

	while (line && !(strncmp(line, "db", 2) == 0 && strtol(line + 2, NULL, 10) >= db)) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	keyspace->rest = line;
	return line && strtol(line + 2, NULL, 10) == db ? line : NULL;
}

/* The same from either source, but "" if there is none. */
static const char *keyspace_line(struct keyspace *keyspace, int db)
{
	const char *line;
	char field[16];

	snprintf(field, sizeof(field), "db%d", db);
	line = keyspace->text ? text_line(keyspace, db)
			      : RedisModule_ServerInfoGetFieldC(keyspace->dictionary, field);
	return line ? line : "";
}

/* A number of such a line; 0 if there is none. */
static uint64_t line_number(const char *line, const char *name)
{
	const char *at = memmem(line, strcspn(line, "\n"), name, strlen(name));

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* Counts the databases by selecting them, because CONFIG, which knows their number, may be
 * renamed. */
static int read_databases(RedisModuleCtx *ctx, struct beam_facts *facts)
{
	struct keyspace keyspace;
	uint32_t room = 0;
	int err = 0;

	keyspace_open(ctx, &keyspace);
	for (int db = 0; !err && RedisModule_SelectDb(ctx, db) == REDISMODULE_OK; db++) {
		uint64_t keys = RedisModule_DbSize(ctx);
		const char *line = keyspace_line(&keyspace, db);

		facts->hides_keys |= line_number(line, "keys=") > keys;
		if (!keys)
			continue;
		if (facts->ndbs == room) {
			struct beam_db_facts *grown =
			    realloc(facts->dbs, (2 * room + 16) * sizeof(*grown));

			if (!grown) {
				err = -ENOMEM;
				break;
			}
			facts->dbs = grown;
			room = 2 * room + 16;
		}
		facts->dbs[facts->ndbs++] = (struct beam_db_facts){
		    .db = (uint32_t)db, .keys = keys, .expires = line_number(line, "expires=")};
		facts->keys += keys;
	}
	keyspace_close(ctx, &keyspace);
	RedisModule_SelectDb(ctx, 0);
	return err;
}

/* FUNCTION DUMP answers even if there are no functions. Its footer holds the server's RDB
 * version. */
static int read_functions(RedisModuleCtx *ctx, struct beam_facts *facts)
{
	RedisModuleCallReply *reply = RedisModule_Call(ctx, beam_command("FUNCTION"), "c", "DUMP");
	size_t len = 0;
	const char *payload = NULL;
	int err = 0;

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_STRING)
		payload = RedisModule_CallReplyStringPtr(reply, &len);
	if (payload && len >= DUMP_FOOTER_BYTES) {
		facts->functions_bytes = len - DUMP_FOOTER_BYTES;
		facts->rdb_version =
		    beam_get_le16((const uint8_t *)payload + facts->functions_bytes);
		facts->functions = malloc(facts->functions_bytes + 1);
		if (facts->functions)
			memcpy(facts->functions, payload, facts->functions_bytes);
		else
			err = -ENOMEM;
	} else {
		err = BEAM_E_SERVER;
	}
	if (reply)
		RedisModule_FreeCallReply(reply);
	return err;
}

int beam_facts_read(RedisModuleCtx *ctx, struct beam_facts *facts, char *why)
{
	int err;

	memset(facts, 0, sizeof(*facts));
	why[0] = 0;
	read_server(ctx, facts);
	read_replication(ctx, facts);
	read_policy(ctx, facts);
	err = read_functions(ctx, facts);
	if (err)
		snprintf(why, 256, "%s",
			 err == -ENOMEM ? "no memory for the functions"
					: "FUNCTION DUMP gave no payload: is FUNCTION renamed?");
	else if ((err = read_databases(ctx, facts)))
		snprintf(why, 256, "no memory for the list of databases");
	if (err)
		beam_facts_free(facts);
	return err;
}

bool beam_facts_has_dump(RedisModuleCtx *ctx)
{
	errno = 0;
	RedisModuleCallReply *reply = RedisModule_Call(ctx, beam_command("DUMP"), "c", "");
	bool known = reply || errno != ENOENT; /* a cluster may refuse it for its key */

	if (reply)
		RedisModule_FreeCallReply(reply);
	return known;
}

void beam_facts_free(struct beam_facts *facts)
{
	free(facts->dbs);
	free(facts->functions);
	facts->dbs = NULL;
	facts->functions = NULL;
}

bool beam_facts_format_known(const struct beam_facts *facts)
{
	if (facts->is_valkey)
		return facts->rdb_version <= VALKEY_AS_REDIS ||
		       facts->rdb_version == BEAM_RDB_VALKEY_FIRST;
	return facts->rdb_version < BEAM_RDB_VALKEY_FIRST;
}

static bool is_one_of(RedisModuleCallReply *reply, const char *const *names)
{
	size_t len;
	const char *text = RedisModule_CallReplyStringPtr(reply, &len);

	for (; text && *names; names++)
		if (len == strlen(*names) && memcmp(text, *names, len) == 0)
			return true;
	return false;
}

/* A migration is a list of fields and values in turn. One that cannot be understood counts as under
 * way. */
static bool is_import_under_way(RedisModuleCallReply *migration)
{
	static const char *const operation[] = {"operation", NULL}, *const out[] = {"EXPORT", NULL};
	static const char *const state[] = {"state", NULL};
	static const char *const over[] = {"success", "failed", "cancelled", NULL};
	size_t n = RedisModule_CallReplyLength(migration);

	for (size_t i = 0; i + 1 < n; i += 2) {
		RedisModuleCallReply *name = RedisModule_CallReplyArrayElement(migration, i);
		RedisModuleCallReply *value = RedisModule_CallReplyArrayElement(migration, i + 1);

		if ((is_one_of(name, operation) && is_one_of(value, out)) ||
		    (is_one_of(name, state) && is_one_of(value, over)))
			return false;
	}
	return true;
}

/* Redis 8.4 exports the function that writes a migration into its dumps; it returns NULL if there
 * is none. */
static bool has_slot_task(void)
{
	char *(*dump_task)(void);
	void (*release)(char *);

	*(void **)&dump_task = dlsym(RTLD_DEFAULT, SLOT_TASK);
	*(void **)&release = dlsym(RTLD_DEFAULT, "sdsfree");
	char *task = dump_task && release ? dump_task() : NULL;

	if (task)
		release(task);
	return task;
}

bool beam_facts_slots_move(RedisModuleCtx *ctx, const struct beam_facts *facts)
{
	bool arrive = false;

	if (!facts->cluster)
		return false;
	if (facts->hides_keys || has_slot_task())
		return true;
	if (facts->rdb_version < BEAM_RDB_VALKEY_FIRST)
		return false;
	RedisModuleCallReply *reply =
	    RedisModule_Call(ctx, beam_command("CLUSTER"), "c", "GETSLOTMIGRATIONS");

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ARRAY)
		for (size_t i = 0; i < RedisModule_CallReplyLength(reply) && !arrive; i++)
			arrive = is_import_under_way(RedisModule_CallReplyArrayElement(reply, i));
	if (reply)
		RedisModule_FreeCallReply(reply);
	return arrive;
}
