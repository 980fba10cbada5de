/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The connection struct and how a connection is made; private to redis.c and redis_connect.c.
 */
#ifndef BEAM_REDIS_CONNECT_H
#define BEAM_REDIS_CONNECT_H

#include <string.h>

#include "redis.h"

struct beam_redis {
	redisContext *context;
	struct beam_tunnel *tunnel; /* NULL without TLS */
	char name[300];             /* host name and port */
	int connect_ms, timeout_ms;
	int host_ms;                         /* of beam_redis_open_busy; 0: none */
	uint64_t used_ms;                    /* when the last command ended */
	const struct beam_redis_addr *again; /* where to reopen; NULL: do not */
	int gone_ms;                         /* of beam_redis_watch_host; 0: none */
	bool was_gone;                       /* the host did not answer */
	char renamed[512];                   /* of the address */
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* Connects, authenticates, and checks that we are let in. Returns 0, or a code with the line in
 * redis->error. */
int beam_redis_connect(struct beam_redis *redis, const struct beam_redis_addr *addr,
		       int timeout_ms);
/* Closes the connection and its tunnel, if there are any; the struct stays. */
void beam_redis_disconnect(struct beam_redis *redis);

/* Writes the line for no memory; returns -ENOMEM. */
int beam_redis_no_memory(struct beam_redis *redis);
/* Returns the code of a broken connection and writes its line; errno must be as hiredis left it. */
int beam_redis_lost(struct beam_redis *redis);
/* Sets the receive timeout, effective at once. */
int beam_redis_limit(struct beam_redis *redis, int timeout_ms);
/* Sets the socket options for beam_redis_watch_host. */
void beam_redis_watch_socket(const struct beam_redis *redis);

static inline bool beam_starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

#endif
