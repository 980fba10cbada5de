/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The address under which the primary lists a pull's replication link among its replicas (INFO
 * replication).
 *
 * A link that announces nothing is listed with port 0. Sentinel discovers replicas from that list
 * and never forgets one, so it would monitor a replica at port 0 for ever. The pull therefore
 * announces the address of the target that it feeds.
 */
#ifndef BEAM_ANNOUNCE_H
#define BEAM_ANNOUNCE_H

#include <stdint.h>

#include "redis.h"

struct beam_announce {
	char ip[256];  /* or a host name, of up to 253 bytes; "": use the link's own address */
	uint32_t port; /* 0: announce nothing */
};

/* Reads from `target`'s configuration the address that it would announce to a primary itself
 * (replica-announce-ip and -port, else its listening port). What cannot be read stays "" or 0. */
void beam_announce_read(struct beam_redis *target, struct beam_announce *out);

/* Sends REPLCONF listening-port and ip-address on a link that has not sent PSYNC yet; sends nothing
 * when the port is 0. Returns 0 or an error of beam_redis_command. */
int beam_announce_send(struct beam_redis *link, const struct beam_announce *announce);

#endif
