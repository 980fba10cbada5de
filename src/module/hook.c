/* SPDX-License-Identifier: BSD-3-Clause
 * Listens to the server's events, and tells a BGSAVE's child from children that are not ours to
 * change. */
#include "hook.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "cut.h"
#include "fault.h"
#include "link.h"
#include "log.h"
#include "save.h"
#include "shared.h"
#include "snapshot_facts.h"

static pid_t server_pid;
static int own_fork;
static bool has_own_child;
static beam_hook_child_fn *tell_child;

/* True in every process forked from the server. */
static int in_child(void)
{
	return getpid() != server_pid;
}

void beam_hook_own_fork(int yes)
{
	own_fork = yes;
}

bool beam_hook_has_own_child(void)
{
	return has_own_child;
}

/* True if the process title begins with one of the names. The server has one name for each kind of
 * child; what follows it comes from proc-title-template, as in "{title}:{port}". */
static bool has_title(const char *const *names, size_t nnames)
{
	char title[128];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, title, sizeof(title) - 1) : 0;
	bool found = false;

	title[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
	for (size_t i = 0; i < nnames && !found; i++)
		found = strncmp(title, names[i], strlen(names[i])) == 0;
	return found;
}

static bool is_disk_save(void)
{
	static const char *const names[] = {"redis-rdb-bgsave", "valkey-rdb-bgsave",
					    "redict-rdb-bgsave"};

	return has_title(names, sizeof(names) / sizeof(names[0]));
}

/* Children that send to replicas, and modules' forks: what another module saves in a child of its
 * own is not ours to change. */
static bool is_known_as_another(void)
{
	static const char *const names[] = {"redis-rdb-to-slaves",    "redis-rdb-to-replicas",
					    "valkey-rdb-to-replicas", "redict-rdb-to-slaves",
					    "redis-module-fork",      "valkey-module-fork",
					    "redict-module-fork"};

	return has_title(names, sizeof(names) / sizeof(names[0]));
}

static bool replica_waits(RedisModuleCtx *ctx)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "replication");
	bool waits = beam_facts_replica_waits(info);

	RedisModule_FreeServerInfo(ctx, info);
	return waits;
}

/* rdbeam.durable no: writes only the table; the server records a successful save although no file
 * was written. */
static void save_without_file(RedisModuleCtx *ctx, uint64_t now_ns)
{
	char temp[64];

	if (replica_waits(ctx) || beam_save_to_memory(ctx, now_ns))
		return;
	snprintf(temp, sizeof(temp), "temp-%d.rdb", (int)getpid());
	unlink(temp);
	_exit(0);
}

static void on_rdb_start(RedisModuleCtx *ctx)
{
	uint64_t now_ns = beam_now_ns();

	if (beam_config.mode == BEAM_MODE_OFF)
		return;
	if (!is_disk_save()) {
		if (!is_known_as_another())
			beam_shared_fallback("cannot tell this child's purpose from its title; %s",
					     access("/proc/self/cmdline", R_OK)
						 ? "/proc is not mounted: mount it"
						 : "proc-title-template must begin with {title}");
		return;
	}
	pid_t parent = server_pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	beam_link_child_detach();
	(void)BEAM_FAULT("hook.child");
	if (beam_config.mode == BEAM_MODE_MIRROR)
		beam_save_to_memory(ctx, now_ns);
	else if (beam_config.durable)
		beam_save_to_disk(ctx, now_ns);
	else
		save_without_file(ctx, now_ns);
	prctl(PR_SET_PDEATHSIG, 0);
}

static void on_persistence(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	(void)event;
	(void)data;
	if (sub == REDISMODULE_PERSISTENCE_RDB_START && in_child() && !own_fork)
		on_rdb_start(ctx);
}

/* Some modules save data of their keys that they omit from DUMP, once they have been told. */
void beam_hook_tell_others(void)
{
	void (*fire)(uint64_t event, int sub, void *data);

	*(void **)&fire = dlsym(RTLD_DEFAULT, "moduleFireServerEvent");
	if (fire)
		fire(REDISMODULE_EVENT_PERSISTENCE, REDISMODULE_PERSISTENCE_RDB_START, NULL);
}

static bool is_saving(RedisModuleCtx *ctx)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "persistence");
	const char *saving = RedisModule_ServerInfoGetFieldC(info, "rdb_bgsave_in_progress");
	bool yes = saving && saving[0] == '1';

	RedisModule_FreeServerInfo(ctx, info);
	return yes;
}

static void on_fork_child(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	(void)event;
	(void)data;
	if (in_child())
		return; /* a worker, which the coordinator forked */
	has_own_child = sub == REDISMODULE_FORK_CHILD_BORN && own_fork;
	if (sub == REDISMODULE_FORK_CHILD_BORN && beam_config.mode != BEAM_MODE_OFF &&
	    (own_fork || is_saving(ctx)))
		beam_cut_mark(ctx);
	tell_child(sub == REDISMODULE_FORK_CHILD_DIED);
}

static bool subscribe(RedisModuleCtx *ctx, uint64_t id, RedisModuleEventCallback callback)
{
	RedisModuleEvent event = {id, 1};

	return RedisModule_SubscribeToServerEvent(ctx, event, callback) == REDISMODULE_OK;
}

/* Subscribes again, so that we are the last to be called when a save begins: we may not return, and
 * modules after us would not be called. The server is walking its list of listeners here and has
 * taken the next one already, so that one must not be removed. It is on_fork_child, which
 * beam_hook_open() has subscribed right after this function. */
static void on_module_change(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
	(void)event;
	(void)sub;
	(void)data;
	subscribe(ctx, REDISMODULE_EVENT_PERSISTENCE, NULL);
	subscribe(ctx, REDISMODULE_EVENT_PERSISTENCE, on_persistence);
}

int beam_hook_open(RedisModuleCtx *ctx, beam_hook_child_fn *on_child)
{
	server_pid = getpid();
	tell_child = on_child;
	return subscribe(ctx, REDISMODULE_EVENT_MODULE_CHANGE, on_module_change) &&
		       subscribe(ctx, REDISMODULE_EVENT_FORK_CHILD, on_fork_child) &&
		       subscribe(ctx, REDISMODULE_EVENT_PERSISTENCE, on_persistence)
		   ? 0
		   : -EINVAL;
}
