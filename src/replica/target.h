/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a pull changes on the target, and the record that allows it to be restored: by the pull
 * itself when it fails, or by the guard when the pull has died. The record lies in memory shared
 * with the guard and is written before the change that it describes.
 */
#ifndef BEAM_TARGET_H
#define BEAM_TARGET_H

#include <stdbool.h>

#include "servers.h"

struct beam_target_state {
	char pull_id[33]; /* of an automatic pull, else "" */
	char run_id[48];  /* "": unknown */
	bool was_replica;
	char master_host[256];
	uint32_t master_port;
	char diskless_load[24]; /* value before our change; "": not changed */
	bool set_masterauth, set_masteruser;
	bool tls_off; /* tls-replication was yes */
	/* How often its configuration file was rewritten before it was sent to the feed; -1:
	 * unknown. */
	int64_t rewrites;
	char feed_host[64]; /* "": not sent to the feed */
	uint32_t feed_port;
	bool led; /* the pull sent it from the feed to its primary */
};

/* Starts a record from the target's present state. `pull_id` may be NULL. */
void beam_target_record(const struct beam_server_facts *facts, const char *pull_id,
			struct beam_target_state *out);

/* Sends REPLICAOF (`host` NULL: NO ONE), as RDBEAM.FOLLOW where possible, by which a module on the
 * target knows that it comes from a pull. Returns 0 or an error of beam_redis_command. */
int beam_target_follow(struct beam_redis *redis, const char *host, uint32_t port,
		       const char *pull_id);

/* Sets repl-diskless-load to `want`. Returns false when it may not be read or set (the latter is
 * logged). The old value is recorded before it is changed. */
bool beam_target_diskless(struct beam_redis *redis, const char *want,
			  struct beam_target_state *state);

/* Makes the target connect to the feed without TLS: sets tls-replication to no where it was yes
 * (the checks made sure that it runs on this host). Returns 0, or an error with its line. */
int beam_target_tls_off(struct beam_redis *redis, struct beam_target_state *state, char *error);
/* Sets tls-replication back to yes, before the hand-over. Returns 0, or an error with its line. */
int beam_target_tls_on(struct beam_redis *redis, struct beam_target_state *state, char *error);

/* Sends the target to the feed by REPLICAOF; the feed's address is recorded before. Returns 0, or
 * an error with its line. */
int beam_target_attach(struct beam_redis *redis, const char *host, uint32_t port,
		       struct beam_target_state *state, char *error);

/* True when there is something to restore. */
bool beam_target_changed(const struct beam_target_state *state);

/* Restores everything: repl-diskless-load and tls-replication; and, if the target still follows the
 * feed, its recorded primary and its credentials. After a hand-over these two are left as they are.
 * If the target's configuration file was rewritten meanwhile, our address is in it, and it is
 * rewritten once more. Returns 0, or the first error (logged). */
int beam_target_restore(struct beam_redis *redis, const struct beam_target_state *state);

/* The same on a connection of its own. Retries for up to two minutes when the server refuses for
 * now (maxclients, a running script, a load). Its host must answer within host_ms, the server
 * within timeout_ms. Failures are logged. */
void beam_target_put_back(const struct beam_redis_addr *addr, int host_ms, int timeout_ms,
			  const struct beam_target_state *state);

#endif
