/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The name under which a primary lists the link of a pull. By itself it would be port 0, and Sentinel, which learns
 * its replicas from that list, keeps what it has read there: a replica at port 0, for ever.
 */
#ifndef BEAM_ANNOUNCE_H
#define BEAM_ANNOUNCE_H

#include <stdint.h>

#include "redis.h"

struct beam_announce {
	char ip[64];   /* "": that of the link */
	uint32_t port; /* 0: no name */
};

/* As `target`, a replica already, names itself to its primary. What it does not tell stays 0. */
void beam_announce_read(struct beam_redis *target, struct beam_announce *out);

/* REPLCONF on a link before its PSYNC. 0 or an error of beam_redis_command. */
int beam_announce_send(struct beam_redis *link, const struct beam_announce *announce);

#endif
