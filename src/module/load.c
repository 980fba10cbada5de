/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The server's side of loading by module: handles the AUX records that a pull puts into the stream,
 * and inserts the keys that the decoder threads have made.
 *
 * A record holds no data and no address. It only refers to the link that RDBEAM.LOAD has offered
 * and a pull has connected to, by its nonce. Without such a link, or with another nonce (a crafted
 * file, a file from elsewhere), the load fails. */
#include "load.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "config.h"
#include "fault.h"
#include "load_ahead.h"
#include "load_link.h"
#include "load_sum.h"
#include "load_value.h"
#include "log.h"
#include "rdbeam/error.h"
#include "request.h"
#include "snapshot_facts.h"

#define LOOK_EVERY_MS  10
#define YIELD_EVERY    256 /* keys between two calls of RM_Yield */
#define FIRST_STRICTER 0x070200

static struct {
	RedisModuleCtx *ctx; /* detached: it has a client, which an AUX record's context lacks */
	RedisModuleType *type;
	bool from_primary; /* the current load is a full resync from a primary */
	bool second_db;    /* it loads into a second database, swapped in at the end (swapdb) */
	bool begun;
	uint64_t inserted;
} load;

/* ---- keys ----------------------------------------------------------------------------------- */

static void yield(void)
{
	RedisModule_Yield(load.ctx, REDISMODULE_YIELD_FLAG_CLIENTS, NULL);
}

static int set_age(RedisModuleKey *key, const struct beam_load_item *item)
{
	int rc = REDISMODULE_OK;

	if (item->idle_s >= 0)
		rc = RedisModule_SetLRU(key, item->idle_s * 1000);
	else if (item->freq >= 0)
		rc = RedisModule_SetLFU(key, item->freq);
	/* An error only means that this server's maxmemory-policy does not keep this kind of age.
	 * The stock loader drops it, too. */
	(void)rc;
	return 0;
}

static int fill(RedisModuleKey *key, struct beam_load_item *item)
{
	RedisModuleString *value = item->value;

	item->value = NULL;
	if (!beam_load_value_set(key, value) ||
	    (item->expire_ms >= 0 &&
	     RedisModule_SetAbsExpire(key, item->expire_ms) != REDISMODULE_OK))
		return BEAM_E_SERVER;
	return set_age(key, item);
}

static int insert(struct beam_load_item *item)
{
	RedisModuleKey *key = RedisModule_OpenKey(load.ctx, item->key, REDISMODULE_WRITE);
	int rc = 0;

	if (!key)
		return -ENOMEM;
	if (RedisModule_KeyType(key) != REDIS_KEY_EMPTY)
		rc = BEAM_E_FORMAT; /* the key is twice in the image */
	else
		rc = fill(key, item);
	RedisModule_CloseKey(key);
	RedisModule_FreeString(NULL, item->key);
	item->key = NULL;
	return rc;
}

static int insert_all(struct beam_load_batch *batch)
{
	uint32_t db = UINT32_MAX;
	int rc = 0;

	for (uint32_t i = 0; i < batch->nitems && !rc; i++) {
		struct beam_load_item *item = &batch->items[i];

		if (item->db != db) {
			db = item->db;
			if (db > INT32_MAX ||
			    RedisModule_SelectDb(load.ctx, (int)db) != REDISMODULE_OK)
				return BEAM_E_FORMAT;
		}
		rc = insert(item);
		if (i % YIELD_EVERY == 0)
			yield();
	}
	load.inserted += batch->nitems;
	return rc;
}

/* ---- AUX records ---------------------------------------------------------------------------- */

/* On a replica that accepts writes, a key to which a module gives a TTL counts as written by the
 * replica itself. */
static bool takes_writes(void)
{
	char text[8];

	beam_config_get(load.ctx, "replica-read-only", text, sizeof(text));
	return strcmp(text, "yes") != 0;
}

/* Returns NULL, or the reason why this load cannot be done by module. */
static const char *refusal(void)
{
	const int wanted = REDISMODULE_CTX_FLAGS_LOADING | REDISMODULE_CTX_FLAGS_SLAVE;

	if (load.second_db)
		return "the server loads into a second database (swapdb)";
	if (!load.from_primary || (RedisModule_GetContextFlags(load.ctx) & wanted) != wanted)
		return "this is not a replica's load";
	if (takes_writes())
		return "replica-read-only is no";
	if (!RedisModule_SetAbsExpire)
		return "the server is older than Redis 7.0.5";
	return NULL;
}

/* A context that is made outside of a load yields only after busy-reply-threshold (5 s): a server
 * that was just started would serve nobody until then. */
static void renew_context(void)
{
	RedisModuleCtx *fresh = RedisModule_GetDetachedThreadSafeContext(load.ctx);

	if (!fresh)
		return;
	RedisModule_FreeThreadSafeContext(load.ctx);
	load.ctx = fresh;
}

static int begin(void)
{
	const char *why = refusal();

	if (why)
		return beam_load_link_say(BEAM_LOAD_REFUSED, why);
	renew_context();
	load.begun = true;
	load.inserted = 0;
	beam_load_value_begin(beam_config.fast_path);
	beam_load_link_keep(true);
	beam_load_ahead_begin();
	return beam_load_link_say(BEAM_LOAD_READY, "");
}

static int chunk(uint32_t number, uint64_t count)
{
	struct beam_load_batch *batch;
	int rc;

	if (!load.begun)
		return BEAM_E_PROTO;
	/* While the threads are behind, this one works, too, instead of waiting. */
	do {
		struct beam_decoder *decoder = beam_load_link_decoder();

		rc = beam_decoder_take(decoder, number, 0, &batch);
		if (rc == -ETIMEDOUT && !beam_decoder_help(decoder, yield))
			rc = beam_decoder_take(decoder, number, LOOK_EVERY_MS, &batch);
		yield();
	} while (rc == -ETIMEDOUT);
	if (!rc)
		rc = BEAM_FAULT("load-insert");
	if (!rc && batch->nitems != count)
		rc = BEAM_E_COUNT;
	if (!rc)
		rc = insert_all(batch);
	beam_load_batch_free(batch);
	return rc;
}

/* The pull sends these while the next chunk is not ready: otherwise the server would block in a
 * read of its replication link and serve no client. */
static int wait_for_more(void)
{
	yield();
	return 0;
}

static int end(uint64_t count)
{
	if (!load.begun)
		return BEAM_E_PROTO;
	return load.inserted == count ? 0 : BEAM_E_COUNT;
}

static int run(uint64_t kind, uint64_t number, uint64_t count)
{
	switch (kind) {
	case BEAM_LOAD_BEGIN:
		return begin();
	case BEAM_LOAD_CHUNK:
		return number > UINT32_MAX ? BEAM_E_PROTO : chunk((uint32_t)number, count);
	case BEAM_LOAD_WAIT:
		return wait_for_more();
	case BEAM_LOAD_END:
		return end(count);
	default:
		return BEAM_E_PROTO;
	}
}

static int aux_load(RedisModuleIO *io, int encver, int when)
{
	uint64_t kind = RedisModule_LoadUnsigned(io);
	uint64_t number = RedisModule_LoadUnsigned(io);
	uint64_t count = RedisModule_LoadUnsigned(io);
	struct beam_load_sum_look look = {0};
	size_t len = 0;

	if (kind == BEAM_LOAD_BEGIN)
		beam_load_sum_look(io, &look);
	char *nonce = RedisModule_LoadStringBuffer(io, &len);
	int rc = 0;

	(void)when;
	if (RedisModule_IsIOError(io) || !nonce)
		rc = BEAM_E_GONE;
	else if (encver != BEAM_LOAD_TYPE_VERSION)
		rc = BEAM_E_VERSION;
	else if (!beam_load_link_is(nonce, len))
		rc = BEAM_E_DENIED;
	if (!rc)
		rc = run(kind, number, count);
	beam_load_ahead_look();
	if (!rc && kind == BEAM_LOAD_BEGIN && load.begun && beam_config.fast_path)
		beam_load_sum_leave_out(&look, nonce, len);
	if (kind == BEAM_LOAD_END)
		beam_load_sum_end(io);
	if (nonce)
		RedisModule_Free(nonce);
	if (rc)
		beam_log(BEAM_LOG_WARNING, "loading by module failed: %s%s", beam_strerror(rc),
			 rc == BEAM_E_GONE     ? " (the pull ended)"
			 : rc == BEAM_E_DENIED ? " (no pull has registered this load)"
					       : "");
	return rc ? REDISMODULE_ERR : REDISMODULE_OK;
}

/* No key has this type. One in a file or a RESTORE payload is an error. */
static void *rdb_load(RedisModuleIO *io, int encver)
{
	(void)io;
	(void)encver;
	return NULL;
}

/* ---- events, command ------------------------------------------------------------------------ */

static void on_loading(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	(void)ctx;
	(void)event;
	(void)data;
	load.from_primary = sub == REDISMODULE_LOADING_REPL_START;
	if (sub != REDISMODULE_LOADING_ENDED && sub != REDISMODULE_LOADING_FAILED)
		return;
	if (load.begun)
		beam_load_link_close();
	beam_load_ahead_end();
	load.begun = false;
}

static void on_async_load(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	(void)ctx;
	(void)event;
	(void)data;
	load.second_db = sub == REDISMODULE_REPL_ASYNC_LOAD_STARTED;
}

/* Once a module has a data type, the server refuses MODULE UNLOAD. Redis 7.0 lets a module create
 * its type at any time, so there the first RDBEAM.LOAD does it, and servers that never load this
 * way can still unload. Since 7.2 types can only be created while the module is loaded. */
static bool make_type(RedisModuleCtx *ctx)
{
	RedisModuleTypeMethods methods = {.version = REDISMODULE_TYPE_METHODS_VERSION,
					  .rdb_load = rdb_load,
					  .aux_load = aux_load};

	if (!load.type)
		load.type = RedisModule_CreateDataType(ctx, BEAM_LOAD_TYPE_NAME,
						       BEAM_LOAD_TYPE_VERSION, &methods);
	if (!load.type)
		beam_log(BEAM_LOG_WARNING,
			 "no loading by module: the server does not accept the type " //
			 BEAM_LOAD_TYPE_NAME);
	return load.type != NULL;
}

int beam_load_open(RedisModuleCtx *ctx)
{
	RedisModuleEvent loading = {REDISMODULE_EVENT_LOADING, 1};
	RedisModuleEvent async_load = {REDISMODULE_EVENT_REPL_ASYNC_LOAD, 1};

	load.ctx = RedisModule_GetDetachedThreadSafeContext(ctx);
	if (!load.ctx)
		return -ENOMEM;
	if (RedisModule_GetServerVersion() >= FIRST_STRICTER)
		make_type(ctx);
	if (RedisModule_SubscribeToServerEvent(ctx, loading, on_loading) != REDISMODULE_OK ||
	    RedisModule_SubscribeToServerEvent(ctx, async_load, on_async_load) != REDISMODULE_OK)
		return -EINVAL;
	return 0;
}

void beam_load_close(void)
{
	beam_load_ahead_end();
	beam_load_link_close();
	beam_redis_free_context(&load.ctx);
}

/* If a module does not handle read errors, the server never loads from a socket, whatever its
 * settings (source: useDisklessLoad in replication.c of Redis 7.0.15 to 8.6, Valkey 7.2.7 to 9.1).
 * A server that does not export the function gets the benefit of the doubt. */
static bool loads_from_socket(void)
{
	int (*all_handle_errors)(void);

	*(void **)&all_handle_errors = dlsym(RTLD_DEFAULT, "moduleAllDatatypesHandleErrors");
	return !all_handle_errors || all_handle_errors();
}

int beam_load_command(RedisModuleCtx *ctx)
{
	struct beam_load_offer offer;

	if (!loads_from_socket())
		return RedisModule_ReplyWithError(
		    ctx, "ERR loading by module is not possible: another module of this server "
			 "does not handle read errors, so it loads by way of its disk");
	if (!make_type(ctx))
		return RedisModule_ReplyWithError(
		    ctx, "ERR loading by module is not possible: the server has a data type of "
			 "the same name");
	int rc = beam_load_link_arm(ctx, &offer);

	if (rc == BEAM_E_BUSY)
		return RedisModule_ReplyWithError(ctx, "BUSY another pull loads this server");
	if (rc)
		return RedisModule_ReplyWithError(ctx, "ERR cannot make a socket for the pull");
	RedisModule_ReplyWithMap(ctx, 4);
	RedisModule_ReplyWithCString(ctx, "version");
	RedisModule_ReplyWithCString(ctx, beam_load_version());
	RedisModule_ReplyWithCString(ctx, "socket");
	beam_reply_hex(ctx, offer.name, offer.name_len);
	RedisModule_ReplyWithCString(ctx, "secret");
	beam_reply_hex(ctx, offer.secret, sizeof(offer.secret));
	RedisModule_ReplyWithCString(ctx, "nonce");
	beam_reply_hex(ctx, offer.nonce, sizeof(offer.nonce));
	return REDISMODULE_OK;
}
