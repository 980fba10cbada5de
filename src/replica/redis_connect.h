/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A connection to Redis and how it begins; private to redis.c and redis_connect.c.
 */
#ifndef BEAM_REDIS_CONNECT_H
#define BEAM_REDIS_CONNECT_H

#include <string.h>

#include "redis.h"

struct beam_redis {
	redisContext *context;
	struct beam_tunnel *tunnel; /* NULL without TLS */
	char name[300];             /* a host name and a port */
	int connect_ms, timeout_ms;
	int host_ms;                         /* of beam_redis_open_busy; 0: not */
	uint64_t used_ms;                    /* when the last command was answered */
	const struct beam_redis_addr *again; /* to be opened again at; NULL: not */
	int gone_ms;                         /* of beam_redis_watch_host; 0: not */
	bool was_gone;                       /* its host */
	char renamed[512];                   /* of the address */
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* Connects, authenticates, looks whether we are let in. 0, or a code with the line in redis->error. */
int beam_redis_connect(struct beam_redis *redis, const struct beam_redis_addr *addr,
		       int timeout_ms);
void beam_redis_disconnect(struct beam_redis *redis);

/* -ENOMEM, with its line. */
int beam_redis_no_memory(struct beam_redis *redis);
/* Code and line of a connection that has broken, while errno is as hiredis left it. */
int beam_redis_lost(struct beam_redis *redis);
/* The receive timeout, in force at once. */
int beam_redis_limit(struct beam_redis *redis, int timeout_ms);
/* The options of beam_redis_watch_host. */
void beam_redis_watch_socket(const struct beam_redis *redis);

static inline bool beam_starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

#endif
