/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a pull changes on the target, recorded so that it can be put back: by the pull itself when
 * it fails, or by the guard when the pull is gone. The record lies in memory shared with the guard
 * and is written before the change that it tells of.
 */
#ifndef BEAM_TARGET_H
#define BEAM_TARGET_H

#include <stdbool.h>

#include "servers.h"

struct beam_target_state {
	char pull_id[33]; /* of an automatic pull, else "" */
	char run_id[48];  /* "": not known */
	bool was_replica;
	char master_host[256];
	uint32_t master_port;
	char diskless_load[24]; /* the value found; "": not changed */
	bool set_masterauth, set_masteruser;
	bool tls_off;       /* tls-replication was yes */
	int64_t rewrites;   /* of its configuration file, before it was told to; -1: not known */
	char feed_host[64]; /* "": not told to come to us */
	uint32_t feed_port;
	bool led; /* from the feed to its primary, by the pull */
};

/* Starts a record of the target as it is. `pull_id` may be NULL. */
void beam_target_record(const struct beam_server_facts *facts, const char *pull_id,
			struct beam_target_state *out);

/* REPLICAOF (host NULL: NO ONE), in the words that a module there takes for a pull's own. 0 or an
 * error of beam_redis_command. */
int beam_target_follow(struct beam_redis *redis, const char *host, uint32_t port,
		       const char *pull_id);

/* Sets repl-diskless-load to `want`; false: it may not be set (logged), or read. The old value is
 * recorded before it is changed. */
bool beam_target_diskless(struct beam_redis *redis, const char *want,
			  struct beam_target_state *state);

/* Has the target connect to us in clear: tls-replication no, where it was yes (the check has seen
 * that it runs on this host). 0, or an error with its line. */
int beam_target_tls_off(struct beam_redis *redis, struct beam_target_state *state, char *error);
/* tls-replication yes again, before the hand-over. 0, or an error with its line. */
int beam_target_tls_on(struct beam_redis *redis, struct beam_target_state *state, char *error);

/* REPLICAOF; the address is recorded as the feed's before the target hears of it. */
int beam_target_attach(struct beam_redis *redis, const char *host, uint32_t port,
		       struct beam_target_state *state, char *error);

/* True when there is something to put back. */
bool beam_target_changed(const struct beam_target_state *state);

/* Puts everything back: repl-diskless-load; and, while the target still follows the feed, its
 * recorded primary and its credentials. After a hand-over these stay as they are. A configuration file that
 * was written meanwhile has our address in it, and is written again. 0, or the first error (logged). */
int beam_target_restore(struct beam_redis *redis, const struct beam_target_state *state);

/* The same by a connection of its own; where the server takes none for now (maxclients, a script that runs,
 * a load), for up to two minutes. Its host must show within host_ms, an answer within timeout_ms. */
void beam_target_put_back(const struct beam_redis_addr *addr, int host_ms, int timeout_ms,
			  const struct beam_target_state *state);

#endif
