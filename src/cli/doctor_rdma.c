/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks RDMA: devices and their ports, the device files, and whether the server offers pulls over
 * them. Everything is read from /sys and /dev, so no RDMA library is needed to report that there is
 * no device.
 */
#include "doctor.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INFINIBAND       "/sys/class/infiniband"
#define CAP_DAC_OVERRIDE 1

static enum beam_level level_bad(const struct beam_doctor *doctor)
{
	return strcmp(doctor->transport, "verbs") == 0 ? BEAM_LEVEL_FAIL : BEAM_LEVEL_WARN;
}

/* ---- ports ---------------------------------------------------------------------------------- */

/* Finds the first GID that is set on a port, and its type; "" without one. */
static void find_gid(const char *port_dir, char *gid, size_t gid_cap, char *type, size_t type_cap)
{
	char path[512];

	for (int i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "%s/gids/%d", port_dir, i);
		if (beam_doctor_read(path, gid, gid_cap) != 0)
			break;
		if (strspn(gid, "0:") == strlen(gid))
			continue;
		snprintf(path, sizeof(path), "%s/gid_attrs/types/%d", port_dir, i);
		beam_doctor_read(path, type, type_cap);
		return;
	}
	gid[0] = type[0] = '\0';
}

/* Returns true if the port is usable. */
static bool check_port(struct beam_doctor *doctor, const char *device, const char *port)
{
	bool fit = false;
	char dir[400], path[440], state[64], layer[64], gid[64], type[64];

	snprintf(dir, sizeof(dir), INFINIBAND "/%.100s/ports/%.10s", device, port);
	snprintf(path, sizeof(path), "%s/state", dir);
	beam_doctor_read(path, state, sizeof(state));
	snprintf(path, sizeof(path), "%s/link_layer", dir);
	beam_doctor_read(path, layer, sizeof(layer));
	find_gid(dir, gid, sizeof(gid), type, sizeof(type));
	if (!strstr(state, "ACTIVE"))
		beam_doctor_add(doctor, level_bad(doctor), "rdma",
				"bring its link up (ip link, cable, subnet manager)",
				"%s port %s is not active: %s", device, port, state);
	else if (!gid[0])
		beam_doctor_add(
		    doctor, level_bad(doctor), "rdma",
		    "give its network interface an IP address: RoCE derives its GIDs from it",
		    "%s port %s has no GID", device, port);
	else
		fit = true;
	if (fit)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "rdma", "",
				"%s port %s: active, %s, GID %s %s", device, port, layer, gid,
				type);
	return fit;
}

/* Adds one finding for each port of a device. Returns their number, and adds the usable ones to
 * *nfit. */
static int check_device(struct beam_doctor *doctor, const char *device, int *nfit)
{
	char path[400];
	struct dirent *entry;
	DIR *dir;
	int found = 0;

	snprintf(path, sizeof(path), INFINIBAND "/%.100s/ports", device);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		*nfit += check_port(doctor, device, entry->d_name);
		found++;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* True if `wanted` is among the first `n` numbers after `field` in a process's status. */
static bool has_number(const char *status, const char *field, unsigned long wanted, int n)
{
	const char *at = strstr(status, field);
	char *end;

	for (at = at ? at + strlen(field) : NULL; at && *at != '\n' && n > 0; n--) {
		unsigned long number = strtoul(at, &end, 10);

		if (end == at)
			return false;
		if (number == wanted)
			return true;
		at = end + strspn(end, " \t");
	}
	return false;
}

/* True if the server (or the user who runs this) may read and write a file of this kind. */
static bool may_open(const struct beam_doctor *doctor, const struct stat *file)
{
	char status[4096];
	const char *caps;

	beam_doctor_read_proc(doctor, "status", status, sizeof(status));
	caps = strstr(status, "\nCapEff:");
	if (!status[0] || (caps && strtoull(caps + 8, NULL, 16) >> CAP_DAC_OVERRIDE & 1))
		return true;
	unsigned shift = 0;

	if (has_number(status, "\nUid:", file->st_uid, 1))
		shift = 6;
	else if (has_number(status, "\nGid:", file->st_gid, 1) ||
		 has_number(status, "\nGroups:", file->st_gid, 64))
		shift = 3;
	return (file->st_mode >> shift & 6) == 6;
}

/* Returns true if the file exists and the server may use it; if it exists but may not be used,
 * reports that. */
static bool check_file(struct beam_doctor *doctor, const char *dir, const char *name)
{
	char path[400];
	struct stat file;

	snprintf(path, sizeof(path), "%s/%.100s", dir, name);
	if (stat(path, &file))
		return false;
	if (may_open(doctor, &file))
		return true;
	beam_doctor_add(doctor, level_bad(doctor), "rdma-files",
			"grant them with a udev rule, as rdma-core's packages do, and allow the "
			"device in the server's unit (DeviceAllow): until then pulls use TCP",
			"the server may not read and write /dev/infiniband/%.100s", name);
	return true;
}

static void check_device_files(struct beam_doctor *doctor)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;
	int before = doctor->nfindings, ndevices = 0;

	/* As the server sees them: PrivateDevices in its unit would hide them. */
	if (doctor->pid)
		snprintf(path, sizeof(path), "/proc/%d/root/dev/infiniband", (int)doctor->pid);
	else
		strcpy(path, "/dev/infiniband");
	dir = opendir(path);
	if (!dir) {
		if (errno != EACCES)
			beam_doctor_add(
			    doctor, level_bad(doctor), "rdma-files",
			    "load ib_uverbs and rdma_ucm, and use the drop-in rdbeam-rdma.conf "
			    "if the server's unit has PrivateDevices",
			    "the server sees no /dev/infiniband");
		return;
	}
	while ((entry = readdir(dir)))
		if (strncmp(entry->d_name, "uverbs", 6) == 0)
			ndevices += check_file(doctor, path, entry->d_name);
	closedir(dir);
	if (!ndevices)
		beam_doctor_add(doctor, level_bad(doctor), "rdma-files",
				"modprobe ib_uverbs: no device can be used without it",
				"the server sees no /dev/infiniband/uverbs0");
	if (!check_file(doctor, path, "rdma_cm"))
		beam_doctor_add(doctor, level_bad(doctor), "rdma-files",
				"modprobe rdma_ucm: connections need it",
				"the server sees no /dev/infiniband/rdma_cm");
	if (doctor->nfindings == before)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "rdma-files", "",
				"/dev/infiniband is there");
}

/* ---- what comes of it ----------------------------------------------------------------------- */

/* True if pulls must use TLS, which pulls over RDMA do not. */
static bool wants_tls(struct beam_doctor *doctor)
{
	char own[16], servers[16];

	beam_doctor_config(doctor, "rdbeam.tls", own, sizeof(own));
	beam_doctor_config(doctor, "tls-replication", servers, sizeof(servers));
	return strcmp(own, "yes") == 0 ||
	       (strcmp(own, "no") != 0 &&
		(strcmp(servers, "yes") == 0 || beam_doctor_config_hidden(doctor)));
}

/* Finds a usable device on which the daemon does not listen, since pulls then silently use TCP. If
 * RDMA is required by the setting, the listener's own finding reports it. */
static void check_offered(struct beam_doctor *doctor)
{
	const char *transports;

	if (!doctor->view.status || !doctor->local || strcmp(doctor->transport, "auto") != 0)
		return;
	transports = beam_view_status(&doctor->view, "transports");
	if (strcmp(transports, "tcp") != 0)
		return;
	if (wants_tls(doctor))
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "rdma-pulls", "",
				"pulls must use TLS, and so TCP: RDMA is not encrypted");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "rdma-pulls",
				"set rdbeam.bind to an address of the device's network interface "
				"(rdma link; ip addr), and see rdma-files",
				"the server does not listen on it, so pulls use TCP");
}

void beam_doctor_rdma(struct beam_doctor *doctor)
{
	if (strcmp(doctor->transport, "tcp") == 0 || strcmp(doctor->transport, "off") == 0) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "rdma", "",
				"not used: rdbeam.transport is %s", doctor->transport);
		return;
	}
	DIR *dir = opendir(INFINIBAND);
	struct dirent *entry;
	int found = 0, nfit = 0;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			found += check_device(doctor, entry->d_name, &nfit);
	}
	if (dir)
		closedir(dir);
	if (found)
		check_device_files(doctor);
	else if (strcmp(doctor->transport, "verbs") == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "rdma",
				"set rdbeam.transport to auto, or load the device's driver",
				"no device, and rdbeam.transport is verbs");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "rdma", "", "no device, pulls use TCP");
	if (nfit)
		check_offered(doctor);
}
