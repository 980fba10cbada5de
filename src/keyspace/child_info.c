/* SPDX-License-Identifier: BSD-3-Clause */
#include "child_info.h"

#include <dlfcn.h>
#include <stddef.h>
#include <sys/socket.h>

#include "redis_api.h"

/* The server's kinds of child info (server.h of 7.0.15 to 8.0.1). */
enum info_kind { INFO_CURRENT = 0, INFO_RDB_COW = 2, INFO_MODULE_COW = 3 };

static bool send_info(enum info_kind kind, uint64_t keys, double progress)
{
	static char rdb[] = "RDB", module[] = "Module fork";
	void (*send)(int kind, size_t keys, double progress, char *title);

	*(void **)&send = dlsym(RTLD_DEFAULT, "sendChildInfoGeneric");
	if (send)
		send((int)kind, (size_t)keys, progress, kind == INFO_MODULE_COW ? module : rdb);
	return send != NULL;
}

void beam_child_info_send(uint64_t keys, uint64_t expected)
{
	double progress = expected ? (double)keys / (double)expected : 0;

	if (!send_info(INFO_CURRENT, keys, progress))
		RedisModule_SendChildHeartbeat(progress);
}

void beam_child_info_cow(bool module_fork)
{
	send_info(module_fork ? INFO_MODULE_COW : INFO_RDB_COW, 0, -1);
}

void beam_child_take_cpus(const char *cpulist)
{
	void (*take)(const char *list);

	*(void **)&take = dlsym(RTLD_DEFAULT, "redisSetCpuAffinity");
	if (!take)
		*(void **)&take = dlsym(RTLD_DEFAULT, "serverSetCpuAffinity");
	if (take && cpulist[0])
		take(cpulist);
}
