/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a pull must know of the two servers, and the checks that come before anything is changed.
 */
#ifndef BEAM_SERVERS_H
#define BEAM_SERVERS_H

#include <stdbool.h>
#include <stdint.h>

#include "pull.h"

struct beam_server_facts {
	char version[32];
	bool is_valkey;
	unsigned rdb_version; /* of the dumps it writes, and the last that it reads; 0: unknown */
	char run_id[48];
	char replid[BEAM_REPLID_BYTES];
	bool is_cluster;
	bool is_replica;
	char master_host[256];
	uint32_t master_port;
	bool has_keys;
	long last_db;          /* the highest that holds keys, 0 if none does */
	int64_t backlog_bytes; /* 0: unknown */
};

/* Reads them by INFO. 0, or an error with its line. */
int beam_server_facts(struct beam_redis *redis, char *error, struct beam_server_facts *out);

/* The version, the only check for a pull without a target server. 0 or BEAM_E_VERSION. */
int beam_check_version(const struct beam_redis *redis, const struct beam_server_facts *facts,
		       char *error);

/* Whether `lead` is the primary whose history `source`, a replica, copies. 0, -EINVAL when it is the
 * target, BEAM_E_DENIED. */
int beam_check_lead(const struct beam_redis *lead, const struct beam_server_facts *lead_facts,
		    const struct beam_server_facts *source, const struct beam_server_facts *target,
		    char *error);

/* Whether the target is among the primaries of `lead`, over however many: they would follow each other, and none
 * would take writes. One that cannot be asked ends the look. 0 or -EINVAL. */
int beam_check_ring(const struct beam_redis_addr *lead, const struct beam_server_facts *lead_facts,
		    const struct beam_server_facts *target, int timeout_ms, char *error);

/* For a target that tries by itself, too: BEAM_E_BUSY when it goes on by a partial resync,
 * BEAM_E_UNSUPPORTED when the primary has no rdbeam. */
int beam_check_needed(struct beam_redis *from, struct beam_redis *to, char *error);

/* All checks of source against target. `lead`: whom a REPLICA target follows in the end. 0, -EINVAL,
 * BEAM_E_DENIED, ... */
int beam_check_pair(const struct beam_pull_opts *opts, const struct beam_redis_addr *lead,
		    const struct beam_server_facts *source, struct beam_redis *to,
		    const struct beam_server_facts *target, char *error);

/* True when the server runs on this host, as far as addresses tell: both ends are one address. */
bool beam_server_is_here(struct beam_redis *redis);

#endif
