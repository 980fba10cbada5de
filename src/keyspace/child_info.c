/* SPDX-License-Identifier: BSD-3-Clause */
#include "child_info.h"

#include <dlfcn.h>
#include <stddef.h>

#include "redis_api.h"

#define CURRENT_INFO 0 /* first of the server's kinds of child info (server.h of 7.0.15 to 8.0.1) */

void beam_child_info_send(uint64_t keys, uint64_t expected)
{
	static char title[] = "RDB";
	double progress = expected ? (double)keys / (double)expected : 0;
	void (*send)(int kind, size_t keys, double progress, char *title);

	*(void **)&send = dlsym(RTLD_DEFAULT, "sendChildInfoGeneric");
	if (send)
		send(CURRENT_INFO, (size_t)keys, progress, title);
	else
		RedisModule_SendChildHeartbeat(progress);
}
