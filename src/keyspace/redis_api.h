/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The part of the module API that rdbeam uses. It is declared here because no package ships the
 * server's header. Names, argument types and constants are facts of the ABI (source: redismodule.h
 * of Redis 7.0.15 and 7.4.1, Valkey 8.0.1). Functions are fetched by name at load; optional ones
 * may be NULL.
 */
#ifndef BEAM_REDIS_API_H
#define BEAM_REDIS_API_H

#include <stddef.h>
#include <stdint.h>

typedef struct RedisModuleCtx RedisModuleCtx;
typedef struct RedisModuleKey RedisModuleKey;
typedef struct RedisModuleString RedisModuleString;
typedef struct RedisModuleCallReply RedisModuleCallReply;
typedef struct RedisModuleScanCursor RedisModuleScanCursor;
typedef struct RedisModuleBlockedClient RedisModuleBlockedClient;
typedef struct RedisModuleInfoCtx RedisModuleInfoCtx;
typedef struct RedisModuleServerInfoData RedisModuleServerInfoData;
typedef struct RedisModuleCommand RedisModuleCommand;
typedef struct RedisModuleIO RedisModuleIO;
typedef struct RedisModuleType RedisModuleType;
typedef struct RedisModuleUser RedisModuleUser;
typedef uint64_t RedisModuleTimerID;
typedef long long mstime_t;

#define REDISMODULE_OK       0
#define REDISMODULE_ERR      1
#define REDISMODULE_APIVER_1 1

enum redis_key_type {
	REDIS_KEY_EMPTY = 0,
	REDIS_KEY_STRING = 1,
	REDIS_KEY_LIST = 2,
	REDIS_KEY_HASH = 3,
	REDIS_KEY_SET = 4,
	REDIS_KEY_ZSET = 5,
	REDIS_KEY_MODULE = 6,
	REDIS_KEY_STREAM = 7,
	REDIS_KEY_ARRAY = 8, /* Redis 8.8 */
};

#define REDISMODULE_READ      (1 << 0)
#define REDISMODULE_WRITE     (1 << 1)
#define REDISMODULE_NO_EXPIRE (-1)

#define REDISMODULE_REPLY_STRING  0
#define REDISMODULE_REPLY_ERROR   1
#define REDISMODULE_REPLY_INTEGER 2
#define REDISMODULE_REPLY_ARRAY   3
#define REDISMODULE_REPLY_NULL    4

#define REDISMODULE_CTX_FLAGS_LUA          (1 << 0)
#define REDISMODULE_CTX_FLAGS_MULTI        (1 << 1)
#define REDISMODULE_CTX_FLAGS_SLAVE        (1 << 3)
#define REDISMODULE_CTX_FLAGS_CLUSTER      (1 << 5)
#define REDISMODULE_CTX_FLAGS_LOADING      (1 << 13)
#define REDISMODULE_CTX_FLAGS_ACTIVE_CHILD (1 << 18)

#define REDISMODULE_OPTIONS_HANDLE_IO_ERRORS              (1 << 0)
#define REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD        (1 << 2)
#define VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION (1 << 5) /* Valkey 9 */

/* Not CLIENT_CHANGE: see docs/adr/0105. */
#define REDISMODULE_EVENT_ROLE_CHANGED    0
#define REDISMODULE_EVENT_PERSISTENCE     1
#define REDISMODULE_EVENT_LOADING         3
#define REDISMODULE_EVENT_SHUTDOWN        5
#define REDISMODULE_EVENT_CRON_LOOP       8
#define REDISMODULE_EVENT_MODULE_CHANGE   9
#define REDISMODULE_EVENT_FORK_CHILD      13
#define REDISMODULE_EVENT_REPL_ASYNC_LOAD 14
#define REDISMODULE_EVENT_CONFIG          16

#define REDISMODULE_ROLE_NOW_REPLICA 1

#define REDISMODULE_LOADING_REPL_START 2
#define REDISMODULE_LOADING_ENDED      3
#define REDISMODULE_LOADING_FAILED     4

#define REDISMODULE_REPL_ASYNC_LOAD_STARTED 0

#define REDISMODULE_PERSISTENCE_RDB_START 0
#define REDISMODULE_FORK_CHILD_BORN       0
#define REDISMODULE_FORK_CHILD_DIED       1

#define REDISMODULE_EVENTLOOP_READABLE 1

#define REDISMODULE_YIELD_FLAG_CLIENTS (1 << 1)

#define REDISMODULE_CONFIG_DEFAULT   0
#define REDISMODULE_CONFIG_IMMUTABLE (1 << 0)
#define REDISMODULE_CONFIG_MEMORY    (1 << 7)

#define REDISMODULE_CLIENTINFO_VERSION 1

typedef struct RedisModuleEvent {
	uint64_t id;
	uint64_t dataver;
} RedisModuleEvent;

typedef struct RedisModuleConfigChange {
	uint64_t version;
	uint32_t num_changes;
	const char **config_names;
} RedisModuleConfigChange;

typedef struct RedisModuleClientInfo {
	uint64_t version;
	uint64_t flags;
	uint64_t id;
	char addr[46];
	uint16_t port;
	uint16_t db;
} RedisModuleClientInfo;

typedef int (*RedisModuleCmdFunc)(RedisModuleCtx *, RedisModuleString **, int);
typedef void (*RedisModuleEventCallback)(RedisModuleCtx *, RedisModuleEvent, uint64_t, void *);
typedef void (*RedisModuleScanCB)(RedisModuleCtx *, RedisModuleString *, RedisModuleKey *, void *);
typedef void (*RedisModuleForkDoneHandler)(int exitcode, int bysignal, void *data);
typedef void (*RedisModuleTimerProc)(RedisModuleCtx *, void *);
typedef void (*RedisModuleEventLoopFunc)(int fd, void *data, int mask);
typedef void (*RedisModuleInfoFunc)(RedisModuleInfoCtx *, int for_crash_report);
typedef void (*RedisModuleEventLoopOneShotFunc)(void *data);
typedef RedisModuleString *(*RedisModuleConfigGetStringFunc)(const char *name, void *data);
typedef long long (*RedisModuleConfigGetNumericFunc)(const char *name, void *data);
typedef int (*RedisModuleConfigGetBoolFunc)(const char *name, void *data);
typedef int (*RedisModuleConfigGetEnumFunc)(const char *name, void *data);
typedef int (*RedisModuleConfigSetStringFunc)(const char *name, RedisModuleString *value,
					      void *data, RedisModuleString **err);
typedef int (*RedisModuleConfigSetNumericFunc)(const char *name, long long value, void *data,
					       RedisModuleString **err);
typedef int (*RedisModuleConfigSetBoolFunc)(const char *name, int value, void *data,
					    RedisModuleString **err);
typedef int (*RedisModuleConfigSetEnumFunc)(const char *name, int value, void *data,
					    RedisModuleString **err);
typedef int (*RedisModuleConfigApplyFunc)(RedisModuleCtx *, void *data, RedisModuleString **err);

/* Version 2 of the struct: the server does not read later members. A type must be able to report
 * that it cannot load a key, since any RDB file may hold one. */
typedef struct RedisModuleTypeMethods {
	uint64_t version;
	void *(*rdb_load)(RedisModuleIO *, int encver);
	void (*rdb_save)(RedisModuleIO *, void *);
	void (*aof_rewrite)(RedisModuleIO *, RedisModuleString *, void *);
	size_t (*mem_usage)(const void *);
	void (*digest)(void *, void *);
	void (*free)(void *);
	int (*aux_load)(RedisModuleIO *, int encver, int when);
	void (*aux_save)(RedisModuleIO *, int when);
	int aux_save_triggers;
} RedisModuleTypeMethods;

#define REDISMODULE_TYPE_METHODS_VERSION 2

/* Command documentation, as RM_SetCommandInfo takes it. */
typedef enum {
	REDISMODULE_ARG_TYPE_STRING,
	REDISMODULE_ARG_TYPE_INTEGER,
	REDISMODULE_ARG_TYPE_DOUBLE,
	REDISMODULE_ARG_TYPE_KEY,
	REDISMODULE_ARG_TYPE_PATTERN,
	REDISMODULE_ARG_TYPE_UNIX_TIME,
	REDISMODULE_ARG_TYPE_PURE_TOKEN,
	REDISMODULE_ARG_TYPE_ONEOF,
	REDISMODULE_ARG_TYPE_BLOCK,
} RedisModuleCommandArgType;

#define REDISMODULE_CMD_ARG_OPTIONAL (1 << 0)

typedef struct RedisModuleCommandArg {
	const char *name;
	RedisModuleCommandArgType type;
	int key_spec_index;
	const char *token;
	const char *summary;
	const char *since;
	int flags;
	const char *deprecated_since;
	struct RedisModuleCommandArg *subargs;
	const char *display_text;
} RedisModuleCommandArg;

typedef struct {
	int version;
	size_t sizeof_historyentry;
	size_t sizeof_keyspec;
	size_t sizeof_arg;
} RedisModuleCommandInfoVersion;

typedef struct {
	const RedisModuleCommandInfoVersion *version;
	const char *summary;
	const char *complexity;
	const char *since;
	const void *history;
	const char *tips;
	int arity;
	const void *key_specs;
	RedisModuleCommandArg *args;
} RedisModuleCommandInfo;

/* X(return type, name, arguments) */
#define BEAM_REDIS_API_REQUIRED(X)                                                                 \
	X(int, IsModuleNameBusy, (const char *))                                                   \
	X(void, SetModuleAttribs, (RedisModuleCtx *, const char *, int, int))                      \
	X(void, SetModuleOptions, (RedisModuleCtx *, int))                                         \
	X(int, CreateCommand,                                                                      \
	  (RedisModuleCtx *, const char *, RedisModuleCmdFunc, const char *, int, int, int))       \
	X(RedisModuleCommand *, GetCommand, (RedisModuleCtx *, const char *))                      \
	X(int, SetCommandInfo, (RedisModuleCommand *, const RedisModuleCommandInfo *))             \
	X(void, Log, (RedisModuleCtx *, const char *, const char *, ...))                          \
	X(int, ReplyWithError, (RedisModuleCtx *, const char *))                                   \
	X(int, ReplyWithMap, (RedisModuleCtx *, long))                                             \
	X(int, ReplyWithArray, (RedisModuleCtx *, long))                                           \
	X(int, ReplyWithCString, (RedisModuleCtx *, const char *))                                 \
	X(int, ReplyWithSimpleString, (RedisModuleCtx *, const char *))                            \
	X(int, ReplyWithLongLong, (RedisModuleCtx *, long long))                                   \
	X(int, ReplyWithNull, (RedisModuleCtx *))                                                  \
	X(int, WrongArity, (RedisModuleCtx *))                                                     \
	X(int, GetContextFlags, (RedisModuleCtx *))                                                \
	X(RedisModuleCtx *, GetDetachedThreadSafeContext, (RedisModuleCtx *))                      \
	X(void, FreeThreadSafeContext, (RedisModuleCtx *))                                         \
	X(unsigned long long, GetClientId, (RedisModuleCtx *))                                     \
	X(int, GetClientInfoById, (void *, uint64_t))                                              \
	X(RedisModuleBlockedClient *, BlockClient,                                                 \
	  (RedisModuleCtx *, RedisModuleCmdFunc, RedisModuleCmdFunc,                               \
	   void (*)(RedisModuleCtx *, void *), long long))                                         \
	X(int, UnblockClient, (RedisModuleBlockedClient *, void *))                                \
	X(int, AbortBlock, (RedisModuleBlockedClient *))                                           \
	X(void *, GetBlockedClientPrivateData, (RedisModuleCtx *))                                 \
	X(RedisModuleBlockedClient *, GetBlockedClientHandle, (RedisModuleCtx *))                  \
	X(void, SetDisconnectCallback,                                                             \
	  (RedisModuleBlockedClient *, void (*)(RedisModuleCtx *, RedisModuleBlockedClient *)))    \
	X(RedisModuleTimerID, CreateTimer,                                                         \
	  (RedisModuleCtx *, mstime_t, RedisModuleTimerProc, void *))                              \
	X(int, StopTimer, (RedisModuleCtx *, RedisModuleTimerID, void **))                         \
	X(int, EventLoopAdd, (int, int, RedisModuleEventLoopFunc, void *))                         \
	X(int, EventLoopDel, (int, int))                                                           \
	X(int, SubscribeToServerEvent,                                                             \
	  (RedisModuleCtx *, RedisModuleEvent, RedisModuleEventCallback))                          \
	X(int, RegisterInfoFunc, (RedisModuleCtx *, RedisModuleInfoFunc))                          \
	X(int, InfoAddSection, (RedisModuleInfoCtx *, const char *))                               \
	X(int, InfoAddFieldCString, (RedisModuleInfoCtx *, const char *, const char *))            \
	X(int, InfoAddFieldULongLong, (RedisModuleInfoCtx *, const char *, unsigned long long))    \
	X(int, RegisterStringConfig,                                                               \
	  (RedisModuleCtx *, const char *, const char *, unsigned, RedisModuleConfigGetStringFunc, \
	   RedisModuleConfigSetStringFunc, RedisModuleConfigApplyFunc, void *))                    \
	X(int, RegisterNumericConfig,                                                              \
	  (RedisModuleCtx *, const char *, long long, unsigned, long long, long long,              \
	   RedisModuleConfigGetNumericFunc, RedisModuleConfigSetNumericFunc,                       \
	   RedisModuleConfigApplyFunc, void *))                                                    \
	X(int, RegisterBoolConfig,                                                                 \
	  (RedisModuleCtx *, const char *, int, unsigned, RedisModuleConfigGetBoolFunc,            \
	   RedisModuleConfigSetBoolFunc, RedisModuleConfigApplyFunc, void *))                      \
	X(int, RegisterEnumConfig,                                                                 \
	  (RedisModuleCtx *, const char *, int, unsigned, const char **, const int *, int,         \
	   RedisModuleConfigGetEnumFunc, RedisModuleConfigSetEnumFunc, RedisModuleConfigApplyFunc, \
	   void *))                                                                                \
	X(int, LoadConfigs, (RedisModuleCtx *))                                                    \
	X(RedisModuleString *, CreateString, (RedisModuleCtx *, const char *, size_t))             \
	X(void, FreeString, (RedisModuleCtx *, RedisModuleString *))                               \
	X(void, RetainString, (RedisModuleCtx *, RedisModuleString *))                             \
	X(const char *, StringPtrLen, (const RedisModuleString *, size_t *))                       \
	X(int, StringToLongLong, (const RedisModuleString *, long long *))                         \
	X(RedisModuleServerInfoData *, GetServerInfo, (RedisModuleCtx *, const char *))            \
	X(void, FreeServerInfo, (RedisModuleCtx *, RedisModuleServerInfoData *))                   \
	X(const char *, ServerInfoGetFieldC, (RedisModuleServerInfoData *, const char *))          \
	X(long long, ServerInfoGetFieldSigned, (RedisModuleServerInfoData *, const char *, int *)) \
	X(int, Fork, (RedisModuleForkDoneHandler, void *))                                         \
	X(void, SendChildHeartbeat, (double))                                                      \
	X(int, KillForkChild, (int))                                                               \
	X(RedisModuleCallReply *, Call, (RedisModuleCtx *, const char *, const char *, ...))       \
	X(void, FreeCallReply, (RedisModuleCallReply *))                                           \
	X(int, CallReplyType, (RedisModuleCallReply *))                                            \
	X(size_t, CallReplyLength, (RedisModuleCallReply *))                                       \
	X(RedisModuleCallReply *, CallReplyArrayElement, (RedisModuleCallReply *, size_t))         \
	X(const char *, CallReplyStringPtr, (RedisModuleCallReply *, size_t *))                    \
	X(int, SelectDb, (RedisModuleCtx *, int))                                                  \
	X(unsigned long long, DbSize, (RedisModuleCtx *))                                          \
	X(RedisModuleScanCursor *, ScanCursorCreate, (void))                                       \
	X(void, ScanCursorRestart, (RedisModuleScanCursor *))                                      \
	X(void, ScanCursorDestroy, (RedisModuleScanCursor *))                                      \
	X(int, Scan, (RedisModuleCtx *, RedisModuleScanCursor *, RedisModuleScanCB, void *))       \
	X(int, KeyType, (RedisModuleKey *))                                                        \
	X(RedisModuleType *, ModuleTypeGetType, (RedisModuleKey *))                                \
	X(size_t, ValueLength, (RedisModuleKey *))                                                 \
	X(char *, StringDMA, (RedisModuleKey *, size_t *, int))                                    \
	X(mstime_t, GetExpire, (RedisModuleKey *))                                                 \
	X(int, GetLRU, (RedisModuleKey *, mstime_t *))                                             \
	X(int, GetLFU, (RedisModuleKey *, long long *))                                            \
	X(int, AvoidReplicaTraffic, (void))                                                        \
	X(int, GetServerVersion, (void))                                                           \
	X(RedisModuleType *, CreateDataType,                                                       \
	  (RedisModuleCtx *, const char *, int, RedisModuleTypeMethods *))                         \
	X(uint64_t, LoadUnsigned, (RedisModuleIO *))                                               \
	X(char *, LoadStringBuffer, (RedisModuleIO *, size_t *))                                   \
	X(int, IsIOError, (RedisModuleIO *))                                                       \
	X(void *, Alloc, (size_t))                                                                 \
	X(void, Free, (void *))                                                                    \
	X(RedisModuleKey *, OpenKey, (RedisModuleCtx *, RedisModuleString *, int))                 \
	X(void, CloseKey, (RedisModuleKey *))                                                      \
	X(int, StringSet, (RedisModuleKey *, RedisModuleString *))                                 \
	X(int, SetLRU, (RedisModuleKey *, mstime_t))                                               \
	X(int, SetLFU, (RedisModuleKey *, long long))                                              \
	X(void, Yield, (RedisModuleCtx *, int, const char *))                                      \
	X(int, EventLoopAddOneShot, (RedisModuleEventLoopOneShotFunc, void *))

#define BEAM_REDIS_API_OPTIONAL(X)                                                                 \
	X(mstime_t, GetAbsExpire, (RedisModuleKey *)) /* since 7.0.5, as SetAbsExpire */           \
	X(int, SetAbsExpire, (RedisModuleKey *, mstime_t))                                         \
	X(void, LatencyAddSample, (const char *, mstime_t))                                        \
	X(int, SetCommandACLCategories, (RedisModuleCommand *, const char *))                      \
	X(RedisModuleString *, GetClientUserNameById, (RedisModuleCtx *, uint64_t))                \
	X(RedisModuleUser *, GetModuleUserFromUserName, (RedisModuleString *))                     \
	X(RedisModuleUser *, CreateModuleUser, (const char *))                                     \
	X(int, SetModuleUserACL, (RedisModuleUser *, const char *))                                \
	X(void, FreeModuleUser, (RedisModuleUser *))                                               \
	X(int, ACLCheckCommandPermissions, (RedisModuleUser *, RedisModuleString **, int))         \
	X(int, GetModuleOptionsAll, (void))                                                        \
	X(int, ConfigGet, (RedisModuleCtx *, const char *, RedisModuleString **))                  \
	X(int, ConfigSet,                                                                          \
	  (RedisModuleCtx *, const char *, RedisModuleString *, RedisModuleString **))

#define X(type, name, args) extern type(*RedisModule_##name) args;
BEAM_REDIS_API_REQUIRED(X)
BEAM_REDIS_API_OPTIONAL(X)
#undef X

/* Frees a context of GetDetachedThreadSafeContext and sets it to NULL; NULL is ignored. Each has a
 * client of 18 KB, which the server keeps after MODULE UNLOAD if the module has not freed it. */
void beam_redis_free_context(RedisModuleCtx **ctx);

/* Fetches all functions through the server's GetApi, to which the first field of *ctx points.
 * Returns NULL, or the name of a required function that this server lacks. Call it first of all, at
 * load. */
const char *beam_redis_api_load(RedisModuleCtx *ctx);

#endif
