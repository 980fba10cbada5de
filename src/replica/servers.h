/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a pull needs to know about the two servers, and the checks made before anything is changed.
 */
#ifndef BEAM_SERVERS_H
#define BEAM_SERVERS_H

#include <stdbool.h>
#include <stdint.h>

#include "pull.h"

struct beam_server_facts {
	char version[32];
	bool is_valkey;
	/* The RDB version that it writes, and the highest that it reads; 0: unknown. */
	unsigned rdb_version;
	char run_id[48];
	char replid[BEAM_REPLID_BYTES];
	bool is_cluster;
	bool is_replica;
	char master_host[256];
	uint32_t master_port;
	bool is_loading; /* it refuses commands */
	bool has_keys;
	/* It loads from its disk, whatever repl-diskless-load says, because of its other modules. Also
	 * true for modules without data types, which are no obstacle. */
	bool from_disk;
	long last_db;          /* highest database with keys, 0 if none */
	int64_t backlog_bytes; /* 0: unknown */
};

/* Reads the facts by INFO. Returns 0, or an error with its line. */
int beam_server_facts(struct beam_redis *redis, char *error, struct beam_server_facts *out);

/* Checks the server's version; the only check for a pull without a target server. Returns 0 or
 * BEAM_E_VERSION. */
int beam_check_version(const struct beam_redis *redis, const struct beam_server_facts *facts,
		       char *error);

/* Checks that `lead` is the primary whose history `source`, a replica, copies. Returns 0, -EINVAL
 * when it is the target itself, or BEAM_E_DENIED when the histories differ. */
int beam_check_lead(const struct beam_redis *lead, const struct beam_server_facts *lead_facts,
		    const struct beam_server_facts *source, const struct beam_server_facts *target,
		    char *error);

/* Checks that the target is not among the (direct or indirect) primaries of `lead`: they would
 * follow each other, and none would take writes. The search stops at a server that cannot be asked.
 * Returns 0 or -EINVAL. */
int beam_check_ring(const struct beam_redis_addr *lead, const struct beam_server_facts *lead_facts,
		    const struct beam_server_facts *target, int timeout_ms, char *error);

/* For an automatic pull: returns 0 when a pull is needed, BEAM_E_BUSY when the target can continue
 * by a partial resync, or BEAM_E_UNSUPPORTED when the primary has no working rdbeam. */
int beam_check_needed(struct beam_redis *from, struct beam_redis *to, char *error);

/* Runs all checks of source against target. `lead` is the primary that a REPLICA target follows in
 * the end. Returns 0, -EINVAL, BEAM_E_DENIED, ... with its line. */
int beam_check_pair(const struct beam_pull_opts *opts, const struct beam_redis_addr *lead,
		    const struct beam_server_facts *source, struct beam_redis *to,
		    const struct beam_server_facts *target, char *error);

/* True when the server runs on this host as far as addresses show: both ends of the connection have
 * the same address. */
bool beam_server_is_here(struct beam_redis *redis);

#endif
