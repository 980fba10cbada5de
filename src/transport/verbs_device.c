/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Queries RDMA devices, and reads settings from the environment.
 */
#include "verbs.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

bool verbs_device_any(void)
{
	DIR *dir = opendir("/sys/class/infiniband");
	bool any = false;

	for (const struct dirent *entry; dir && !any && (entry = readdir(dir));)
		any = entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return any;
}

static bool describe_port(struct ibv_context *device, uint8_t port, struct beam_server_device *out)
{
	struct ibv_port_attr attr;
	struct ibv_device_attr limits;
	union ibv_gid gid;

	if (ibv_query_port(device, port, &attr) || attr.state != IBV_PORT_ACTIVE ||
	    ibv_query_device(device, &limits))
		return false;
	snprintf(out->name, sizeof(out->name), "%s", ibv_get_device_name(device->device));
	out->port = port;
	out->mtu = 128u << attr.active_mtu;
	out->depth = (uint32_t)limits.max_qp_rd_atom;
	/* The last GID that is set belongs to the address added last: RoCE v2 of an IP address,
	 * where there is one. */
	for (int i = 0; i < attr.gid_tbl_len && i < 16; i++) {
		static const union ibv_gid none;

		if (!ibv_query_gid(device, port, i, &gid) && memcmp(&gid, &none, sizeof(gid)) != 0)
			inet_ntop(AF_INET6, gid.raw, out->gid, sizeof(out->gid));
	}
	return true;
}

bool verbs_device_describe(struct rdma_cm_id *id, struct beam_server_device *out)
{
	int ndevices = 0;
	bool found = false;

	if (id && id->verbs) {
		if (!describe_port(id->verbs, id->port_num, out))
			return false;
		inet_ntop(AF_INET6, id->route.addr.addr.ibaddr.sgid.raw, out->gid,
			  sizeof(out->gid));
		return true;
	}
	struct ibv_context **devices = rdma_get_devices(&ndevices);

	for (int i = 0; devices && i < ndevices && !found; i++)
		for (uint8_t port = 1; port <= 2 && !found; port++)
			found = describe_port(devices[i], port, out);
	if (devices)
		rdma_free_devices(devices);
	return found;
}

uint32_t verbs_setting(const char *name, uint32_t value, uint32_t min, uint32_t max)
{
	const char *text = getenv(name);
	char *end;

	if (!text)
		return value;
	errno = 0;
	unsigned long given = strtoul(text, &end, 10);

	if (errno || *end || end == text || given < min || given > max) {
		beam_log(BEAM_LOG_WARNING, "%s=%s is not used: allowed is %u to %u", name, text,
			 min, max);
		return value;
	}
	return (uint32_t)given;
}
