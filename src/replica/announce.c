/* SPDX-License-Identifier: BSD-3-Clause
 * From the target's configuration to the primary's list of replicas. */
#include "announce.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* "" when it may not be read, or is not there. */
static void config_get(struct beam_redis *redis, const char *name, char *out, size_t cap)
{
	redisReply *reply = NULL;

	out[0] = '\0';
	if (beam_redis_command(redis, &reply, "CONFIG GET %s", name))
		return;
	const redisReply *value = beam_reply_field(reply, name);

	if (value && value->type == REDIS_REPLY_STRING && (size_t)value->len < cap)
		memcpy(out, value->str, (size_t)value->len + 1);
	freeReplyObject(reply);
}

static uint32_t config_port(struct beam_redis *redis, const char *name)
{
	char text[16];

	config_get(redis, name, text, sizeof(text));
	unsigned long port = strtoul(text, NULL, 10);

	return port <= UINT16_MAX ? (uint32_t)port : 0;
}

/* Of a target elsewhere; of one on this host the primary takes the link's own address for it. */
static void address_elsewhere(struct beam_redis *target, char *out, size_t cap)
{
	struct sockaddr_storage here = {0}, there = {0};
	socklen_t here_len = sizeof(here), there_len = sizeof(there);
	char ours[64], theirs[64];
	int sock = beam_redis_socket(target);

	if (getsockname(sock, (struct sockaddr *)&here, &here_len) ||
	    getpeername(sock, (struct sockaddr *)&there, &there_len) || here.ss_family == AF_UNIX)
		return;
	if (getnameinfo((struct sockaddr *)&here, here_len, ours, sizeof(ours), NULL, 0,
			NI_NUMERICHOST) ||
	    getnameinfo((struct sockaddr *)&there, there_len, theirs, sizeof(theirs), NULL, 0,
			NI_NUMERICHOST))
		return;
	if (strcmp(ours, theirs) != 0)
		snprintf(out, cap, "%s", theirs);
}

void beam_announce_read(struct beam_redis *target, struct beam_announce *out)
{
	char tls[8];

	memset(out, 0, sizeof(*out));
	config_get(target, "replica-announce-ip", out->ip, sizeof(out->ip));
	if (!out->ip[0])
		address_elsewhere(target, out->ip, sizeof(out->ip));
	config_get(target, "tls-replication", tls, sizeof(tls));
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
