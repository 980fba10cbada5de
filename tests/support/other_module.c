/* SPDX-License-Identifier: BSD-3-Clause
 * Another module loaded beside rdbeam, for tests. With the arguments "aux [BYTES [TYPES]]" it keeps
 * AUX data for each of its types, and has keys of the first one (OTHER.KEEP KEY NUMBER). With
 * "keys" it is the module KEYS, which only has such keys (KEYS.KEEP); with "careless" it does not
 * handle read errors either. With "told" their numbers are saved as 0 until it has been notified
 * that a save begins; RedisTimeSeries uses that to tell DUMP from a save (source: its rdb.c). With
 * "threads" it waits after each fork, as valkey-search does (source: its valkey_search.cc), for
 * threads of its own to continue, which exist only in the process that loaded it. OTHER.NOTE KEY
 * NUMBER attaches metadata to a key if the server supports that (source: redismodule.h of Redis
 * 8.6.3); OTHER.READ KEY returns it. It logs each key whose end it is notified of, and each time
 * that it is asked for its AUX data. OTHER.SAVE is SAVE, in a child of its own. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "redis_api.h"

#define FUNCTIONS(X)                                                                               \
	X(void, SetModuleAttribs, (RedisModuleCtx *, const char *, int, int))                      \
	X(int, CreateCommand,                                                                      \
	  (RedisModuleCtx *, const char *, RedisModuleCmdFunc, const char *, int, int, int))       \
	X(RedisModuleType *, CreateDataType,                                                       \
	  (RedisModuleCtx *, const char *, int, RedisModuleTypeMethods *))                         \
	X(int, ReplyWithError, (RedisModuleCtx *, const char *))                                   \
	X(int, ReplyWithLongLong, (RedisModuleCtx *, long long))                                   \
	X(int, StringToLongLong, (const RedisModuleString *, long long *))                         \
	X(RedisModuleKey *, OpenKey, (RedisModuleCtx *, RedisModuleString *, int))                 \
	X(void, CloseKey, (RedisModuleKey *))                                                      \
	X(void, SaveUnsigned, (RedisModuleIO *, uint64_t))                                         \
	X(uint64_t, LoadUnsigned, (RedisModuleIO *))                                               \
	X(void, SaveStringBuffer, (RedisModuleIO *, const char *, size_t))                         \
	X(char *, LoadStringBuffer, (RedisModuleIO *, size_t *))                                   \
	X(void, SetModuleOptions, (RedisModuleCtx *, int))                                         \
	X(void *, Alloc, (size_t))                                                                 \
	X(void, Free, (void *))                                                                    \
	X(int, ModuleTypeSetValue, (RedisModuleKey *, RedisModuleType *, void *))                  \
	X(const char *, StringPtrLen, (const RedisModuleString *, size_t *))                       \
	X(int, SubscribeToKeyspaceEvents,                                                          \
	  (RedisModuleCtx *, int,                                                                  \
	   int (*)(RedisModuleCtx *, int, const char *, RedisModuleString *)))                     \
	X(int, SubscribeToServerEvent,                                                             \
	  (RedisModuleCtx *, RedisModuleEvent, RedisModuleEventCallback))                          \
	X(void, Log, (RedisModuleCtx *, const char *, const char *, ...))                          \
	X(int, Fork, (void *, void *))                                                             \
	X(int, ExitFromChild, (int))                                                               \
	X(RedisModuleCallReply *, Call, (RedisModuleCtx *, const char *, const char *, ...))       \
	X(int, CreateKeyMetaClass, (RedisModuleCtx *, const char *, int, void *))                  \
	X(int, SetKeyMeta, (int, RedisModuleKey *, uint64_t))                                      \
	X(int, GetKeyMeta, (int, RedisModuleKey *, uint64_t *))

#define X(type, name, args) static type(*other_##name) args;
FUNCTIONS(X)
#undef X

#define BEFORE_AND_AFTER_RDB 3
#define NOTIFY_EXPIRED       (1 << 8)
#define HANDLES_ERRORS                                                                             \
	(REDISMODULE_OPTIONS_HANDLE_IO_ERRORS | REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD)

static int class_id = -1;
static RedisModuleType *kept;
static size_t aux_bytes;
static int saves = 1; /* saves begun and not reported as ended */

static void save_aux(RedisModuleIO *io, int when)
{
	char *bytes = other_Alloc(aux_bytes + 1);

	other_Log(NULL, "notice", "asked for AUX data %d", when);
	other_SaveUnsigned(io, (uint64_t)when);
	memset(bytes, 'x', aux_bytes);
	other_SaveStringBuffer(io, bytes, aux_bytes);
	other_Free(bytes);
}

static int load_aux(RedisModuleIO *io, int encver, int when)
{
	uint64_t said = other_LoadUnsigned(io);
	size_t len = 0;
	char *bytes = other_LoadStringBuffer(io, &len);

	(void)encver;
	other_Log(NULL, "notice", "given AUX data %d of %d bytes", when, (int)len);
	other_Free(bytes);
	return said == (uint64_t)when ? REDISMODULE_OK : REDISMODULE_ERR;
}

static void save_kept(RedisModuleIO *io, void *value)
{
	other_SaveUnsigned(io, saves > 0 ? *(uint64_t *)value : 0);
}

static void *load_kept(RedisModuleIO *io, int encver)
{
	uint64_t *value = other_Alloc(sizeof(*value));

	(void)encver;
	*value = other_LoadUnsigned(io);
	return value;
}

static void free_kept(void *value)
{
	other_Free(value);
}

static int on_keep(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	long long number;

	if (!kept || argc != 3 || other_StringToLongLong(argv[2], &number))
		return other_ReplyWithError(ctx, "ERR no keys here");
	RedisModuleKey *key = other_OpenKey(ctx, argv[1], REDISMODULE_READ | REDISMODULE_WRITE);
	uint64_t *value = other_Alloc(sizeof(*value));

	*value = (uint64_t)number;
	other_ModuleTypeSetValue(key, kept, value);
	other_CloseKey(key);
	return other_ReplyWithLongLong(ctx, number);
}

static void save_note(RedisModuleIO *io, void *value, uint64_t *note)
{
	(void)value;
	other_SaveUnsigned(io, *note);
}

static int load_note(RedisModuleIO *io, uint64_t *note, int encver)
{
	(void)encver;
	*note = other_LoadUnsigned(io);
	return 1;
}

static int on_note(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	long long note;

	if (class_id <= 0 || argc != 3 || other_StringToLongLong(argv[2], &note))
		return other_ReplyWithError(ctx, "ERR no metadata here");
	RedisModuleKey *key = other_OpenKey(ctx, argv[1], REDISMODULE_READ | REDISMODULE_WRITE);
	int rc = other_SetKeyMeta(class_id, key, (uint64_t)note);

	other_CloseKey(key);
	return rc ? other_ReplyWithError(ctx, "ERR no such key")
		  : other_ReplyWithLongLong(ctx, note);
}

static int on_read(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	uint64_t note = 0;

	if (class_id <= 0 || argc != 2)
		return other_ReplyWithError(ctx, "ERR no metadata here");
	RedisModuleKey *key = other_OpenKey(ctx, argv[1], REDISMODULE_READ);

	if (key)
		other_GetKeyMeta(class_id, key, &note);
	other_CloseKey(key);
	return other_ReplyWithLongLong(ctx, (long long)note);
}

static int on_expired(RedisModuleCtx *ctx, int type, const char *event, RedisModuleString *key)
{
	(void)type;
	(void)key;
	other_Log(ctx, "notice", "told: %s", event);
	return REDISMODULE_OK;
}

static void on_persistence(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	(void)event;
	(void)data;
	saves += sub <= 2 || sub == 5 ? 1 : -1; /* of each kind; ended or failed */
	if (sub == REDISMODULE_PERSISTENCE_RDB_START)
		other_Log(ctx, "notice", "told: a save begins, %d under way", saves);
}

static pid_t with_threads;

static void after_fork(void)
{
	while (getpid() != with_threads)
		pause();
}

static int on_save(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	int pid = other_Fork(NULL, NULL);

	(void)argv;
	(void)argc;
	if (pid == 0)
		other_ExitFromChild(other_Call(ctx, "SAVE", "") ? 0 : 1);
	return pid < 0 ? other_ReplyWithError(ctx, "ERR no child")
		       : other_ReplyWithLongLong(ctx, pid);
}

/* As the server declares it: functions that are not wanted are NULL. */
static struct {
	uint64_t version, flags, reset_value;
	void *copy, *rename, *move, *unlink, *free;
	int (*load)(RedisModuleIO *, uint64_t *, int);
	void (*save)(RedisModuleIO *, void *, uint64_t *);
	void *rest[4];
} note_class = {.version = 1, .load = load_note, .save = save_note};

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx, void **argv,
							      int argc);

/* Registers a type of its own, and nothing else. */
static int load_keys(RedisModuleCtx *ctx, RedisModuleTypeMethods *methods, const char *kind)
{
	RedisModuleEvent persistence = {REDISMODULE_EVENT_PERSISTENCE, 1};

	methods->aux_save = NULL;
	methods->aux_load = NULL;
	other_SetModuleAttribs(ctx, "keys", 1, REDISMODULE_APIVER_1);
	if (strcmp(kind, "careless") != 0)
		other_SetModuleOptions(ctx, HANDLES_ERRORS);
	if (strcmp(kind, "told") == 0) {
		saves = 0;
		other_SubscribeToServerEvent(ctx, persistence, on_persistence);
	}
	if (strcmp(kind, "threads") == 0) {
		with_threads = getpid();
		pthread_atfork(NULL, after_fork, NULL);
	}
	kept = other_CreateDataType(ctx, "rdbeam-ky", 0, methods);
	return !kept || other_CreateCommand(ctx, "keys.keep", on_keep, "write", 1, 1, 1)
		   ? REDISMODULE_ERR
		   : REDISMODULE_OK;
}

/* "rdbeam-ot", "rdbeam-ou" and so on. */
static int create_types(RedisModuleCtx *ctx, RedisModuleTypeMethods *methods, long long ntypes)
{
	char name[] = "rdbeam-ot";

	kept = other_CreateDataType(ctx, name, 0, methods);
	for (long long i = 1; kept && i < ntypes; i++) {
		name[8] = "uvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[i - 1];
		if (!other_CreateDataType(ctx, name, 0, methods))
			return REDISMODULE_ERR;
	}
	return kept ? REDISMODULE_OK : REDISMODULE_ERR;
}

int RedisModule_OnLoad(RedisModuleCtx *ctx, void **argv, int argc)
{
	int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))(void *)ctx;
	RedisModuleTypeMethods methods = {.version = REDISMODULE_TYPE_METHODS_VERSION,
					  .rdb_load = load_kept,
					  .rdb_save = save_kept,
					  .free = free_kept,
					  .aux_load = load_aux,
					  .aux_save = save_aux,
					  .aux_save_triggers = BEFORE_AND_AFTER_RDB};
	long long number = 0, ntypes = 1;

#define X(type, name, args) get_api("RedisModule_" #name, (void *)&other_##name);
	FUNCTIONS(X)
#undef X
	const char *kind = argc ? other_StringPtrLen(argv[0], NULL) : "";

	if (kind[0] && strcmp(kind, "aux") != 0)
		return load_keys(ctx, &methods, kind);
	other_SetModuleAttribs(ctx, "other", 1, REDISMODULE_APIVER_1);
	other_SetModuleOptions(ctx, HANDLES_ERRORS);
	if (argc > 1)
		other_StringToLongLong(argv[1], &number);
	aux_bytes = (size_t)number;
	if (argc > 2)
		other_StringToLongLong(argv[2], &ntypes);
	if (other_CreateKeyMetaClass)
		class_id = other_CreateKeyMetaClass(ctx, "note", 1, &note_class);
	other_SubscribeToKeyspaceEvents(ctx, NOTIFY_EXPIRED, on_expired);
	if ((argc && create_types(ctx, &methods, ntypes)) ||
	    other_CreateCommand(ctx, "other.keep", on_keep, "write", 1, 1, 1) ||
	    other_CreateCommand(ctx, "other.note", on_note, "write", 1, 1, 1) ||
	    other_CreateCommand(ctx, "other.read", on_read, "readonly", 1, 1, 1) ||
	    other_CreateCommand(ctx, "other.save", on_save, "admin", 0, 0, 0))
		return REDISMODULE_ERR;
	return REDISMODULE_OK;
}
