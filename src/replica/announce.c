/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads the announced address from the target's configuration and sends it on the link by REPLCONF.
 */
#include "announce.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "servers.h"

static uint32_t config_port(struct beam_redis *redis, const char *name)
{
	char text[16];

	beam_redis_config(redis, name, text, sizeof(text));
	unsigned long port = strtoul(text, NULL, 10);

	return port <= UINT16_MAX ? (uint32_t)port : 0;
}

/* Fills in the address of a target on another host. For a target on this host nothing is needed:
 * the primary falls back to the link's own peer address, which is right. */
static void address_elsewhere(struct beam_redis *target, char *out, size_t cap)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);
	char name[64];

	if (!beam_server_is_here(target) &&
	    !getpeername(beam_redis_socket(target), (struct sockaddr *)&peer, &len) &&
	    !getnameinfo((struct sockaddr *)&peer, len, name, sizeof(name), NULL, 0,
			 NI_NUMERICHOST))
		snprintf(out, cap, "%s", name);
}

void beam_announce_read(struct beam_redis *target, struct beam_announce *out)
{
	char tls[8];

	memset(out, 0, sizeof(*out));
	beam_redis_config(target, "replica-announce-ip", out->ip, sizeof(out->ip));
	if (!out->ip[0])
		address_elsewhere(target, out->ip, sizeof(out->ip));
	beam_redis_config(target, "tls-replication", tls, sizeof(tls));
	out->port = config_port(target, "replica-announce-port");
	if (!out->port && strcmp(tls, "yes") == 0)
		out->port = config_port(target, "tls-port");
	if (!out->port)
		out->port = config_port(target, "port");
}

int beam_announce_send(struct beam_redis *link, const struct beam_announce *announce)
{
	if (!announce->port)
		return 0;
	int rc = beam_redis_command(link, NULL, "REPLCONF listening-port %u", announce->port);

	if (rc || !announce->ip[0])
		return rc;
	return beam_redis_command(link, NULL, "REPLCONF ip-address %s", announce->ip);
}
