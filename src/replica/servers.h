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
	char run_id[48];
	char replid[BEAM_REPLID_BYTES];
	bool is_cluster;
	bool is_replica;
	char master_host[256];
	uint32_t master_port;
	bool has_keys;
	int64_t backlog_bytes; /* 0: unknown */
};

/* Reads them by INFO. 0, or an error with its line. */
int beam_server_facts(struct beam_redis *redis, char *error, struct beam_server_facts *out);

/* The version, the only check for a pull without a target server. 0 or BEAM_E_VERSION. */
int beam_check_version(const struct beam_redis *redis, const struct beam_server_facts *facts,
		       char *error);

/* All checks of primary against target. 0, -EINVAL, BEAM_E_DENIED, ... */
int beam_check_pair(const struct beam_pull_opts *opts, struct beam_redis *from,
		    const struct beam_server_facts *primary, struct beam_redis *to,
		    const struct beam_server_facts *target, char *error);

#endif
