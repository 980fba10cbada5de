/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks the service: the module in the server, its daemon, and the port to which pulls connect.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdbeam/version.h"
#include "report.h"
#include "sockets.h"

#define CONNECT_TIMEOUT_MS 3000

/* ---- module and daemon -------------------------------------------------------------------- */

static void check_module_version(struct beam_doctor *doctor)
{
	const char *version = beam_view_status(&doctor->view, "version");

	if (strcmp(version, RDBEAM_VERSION) == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "module", "", "loaded, version %s", version);
	else
		beam_doctor_add(
		    doctor, BEAM_LEVEL_WARN, "module",
		    "install the same version on all hosts, and restart the server after "
		    "an upgrade: a pull between different versions may be refused",
		    "version %s, this program is " RDBEAM_VERSION, *version ? version : "not told");
}

static void check_mode(struct beam_doctor *doctor)
{
	const char *mode = beam_view_status(&doctor->view, "mode");
	char durable[16];

	if (strcmp(mode, "off") == 0) {
		beam_doctor_add(
		    doctor, BEAM_LEVEL_FAIL, "mode",
		    "CONFIG SET rdbeam.mode replace: off leaves saves to the server, and "
		    "pulls get no image",
		    "rdbeam.mode is off");
		return;
	}
	beam_doctor_config(doctor, "rdbeam.durable", durable, sizeof(durable));
	if (strcmp(mode, "replace") == 0 && strcmp(durable, "no") == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "mode",
				"CONFIG SET rdbeam.durable yes, unless this server needs no dump",
				"rdbeam.durable is no: BGSAVE writes no file");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "mode", "", "%s", mode);
}

static void check_fallbacks(struct beam_doctor *doctor)
{
	int64_t count = beam_view_status_number(&doctor->view, "fallback_total", 0);

	if (count > 0)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "fallbacks",
				"remove that cause; the server saved the data by itself",
				"%" PRId64 " since the start, the last: %s", count,
				beam_view_status(&doctor->view, "last_fallback_reason"));
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "fallbacks", "", "none");
}

static bool check_daemon(struct beam_doctor *doctor)
{
	const char *state = beam_view_status(&doctor->view, "daemon_state");
	const char *error = beam_view_status(&doctor->view, "last_error");
	char path[1024];

	if (strcmp(state, "up") == 0) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "daemon", "", "up, pid %" PRId64,
				beam_view_status_number(&doctor->view, "daemon_pid", 0));
		return true;
	}
	if (strcmp(state, "starting") == 0 && !*error) {
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "daemon", "ask again in a second",
				"starting");
		return false;
	}
	beam_doctor_config(doctor, "rdbeam.daemon", path, sizeof(path));
	beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "daemon",
			"see the server's log; rdbeamd must be beside rdbeam.so or where "
			"rdbeam.daemon says, and be executable for the server's user",
			"%s%s%s%s%s", state, *error ? ", " : "", error,
			path[0] ? ", rdbeam.daemon is " : "", path);
	return false;
}

/* ---- the listener ------------------------------------------------------------------------- */

/* Connects and closes again. Returns 0 or -errno. */
static int try_address(const struct addrinfo *address)
{
	int sock = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd wait = {.fd = sock, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int err = 0;

	if (sock < 0)
		return -errno;
	if (connect(sock, address->ai_addr, address->ai_addrlen)) {
		if (errno != EINPROGRESS)
			err = errno;
		else if (poll(&wait, 1, CONNECT_TIMEOUT_MS) <= 0)
			err = ETIMEDOUT;
		else if (getsockopt(sock, SOL_SOCKET, SO_ERROR, &err, &len))
			err = errno;
	}
	beam_close(&sock);
	return -err;
}

static int try_host(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	int err = -EHOSTUNREACH;

	if (getaddrinfo(host, port, &hints, &found))
		return err;
	for (const struct addrinfo *at = found; at && err; at = at->ai_next)
		err = try_address(at);
	freeaddrinfo(found);
	return err;
}

/* True for addresses that stand for all addresses of the host. */
static bool is_any(const char *bind)
{
	return strcmp(bind, "*") == 0 || strcmp(bind, "::*") == 0 || strcmp(bind, "::") == 0 ||
	       strcmp(bind, "0.0.0.0") == 0;
}

static bool is_loopback(const char *bind)
{
	return strncmp(bind, "127.", 4) == 0 || strcmp(bind, "::1") == 0 ||
	       strcmp(bind, "localhost") == 0;
}

/* Gets the server's address from our connection. */
static void server_host(const struct beam_doctor *doctor, char *out, size_t cap)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);

	if (getpeername(beam_redis_socket(doctor->redis), (struct sockaddr *)&peer, &len) ||
	    peer.ss_family == AF_UNIX ||
	    getnameinfo((struct sockaddr *)&peer, len, out, (socklen_t)cap, NULL, 0,
			NI_NUMERICHOST))
		snprintf(out, cap, "127.0.0.1");
}

/* The result of trying all addresses of the listener. */
struct reach {
	char tried[256];
	bool by_rdma; /* only by RDMA: no address is tried */
	int err;      /* 0: at least one answers */
	bool beyond_host;
};

static void reach_listener(const struct beam_doctor *doctor, char *bind, const char *port,
			   struct reach *out)
{
	char host[256], *save = NULL;
	size_t used = 0;

	server_host(doctor, host, sizeof(host));
	/* A listener over RDMA does not answer to TCP. */
	out->err = out->by_rdma ? 0 : -EADDRNOTAVAIL;
	for (char *word = strtok_r(bind, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		word += word[0] == '-' && word[1];
		out->beyond_host |= !is_loopback(word);
		/* From another host, only the address of our own connection is known to be
		 * reachable. */
		const char *to = is_any(word) || !doctor->local ? host : word;

		if (out->err)
			out->err = try_host(to, port);
		if (used < sizeof(out->tried) && !strstr(out->tried, to))
			used += (size_t)snprintf(out->tried + used, sizeof(out->tried) - used,
						 "%s%s", used ? ", " : "", to);
	}
}

/* Returns true if the listener is meant to be reached from other hosts. */
static bool check_listener(struct beam_doctor *doctor, const char *port)
{
	char bind[1024];
	const char *transports = beam_view_status(&doctor->view, "transports");
	struct reach reach = {.by_rdma = strcmp(transports, "verbs") == 0};

	if (!beam_doctor_config(doctor, "rdbeam.bind", bind, sizeof(bind)) || !bind[0])
		beam_doctor_config(doctor, "bind", bind, sizeof(bind));
	if (!bind[0])
		strcpy(bind, "*");
	reach_listener(doctor, bind, port, &reach);
	if (reach.err)
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "listener",
				"open this port in the firewall, or correct rdbeam.bind and "
				"rdbeam.port: pulls connect there",
				"port %s at %s does not answer: %s", port, reach.tried,
				strerror(-reach.err));
	else if (!reach.beyond_host)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "listener",
				"set rdbeam.bind to an address that replicas reach",
				"port %s answers, but only on this host", port);
	else if (reach.by_rdma)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "listener", "",
				"port %s at %s, over RDMA only: to test it, run rdbeam pull "
				"--discard on a replica's host",
				port, reach.tried);
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "listener", "", "port %s answers at %s",
				port, reach.tried);
	return reach.beyond_host;
}

/* True if the default user, which a client without a user name is, needs no password. */
static bool needs_no_password(struct beam_doctor *doctor)
{
	char text[256];
	redisReply *user = NULL;
	const redisReply *flags;
	bool open = false;

	if (beam_redis_command(doctor->redis, &user, "ACL GETUSER default") != 0)
		return beam_doctor_config(doctor, "requirepass", text, sizeof(text)) && !text[0];
	flags = beam_reply_field(user, "flags");
	for (size_t i = 0; flags && i < flags->elements; i++)
		open |= flags->element[i]->str && strcmp(flags->element[i]->str, "nopass") == 0;
	freeReplyObject(user);
	return open;
}

/* In protected mode, connections from other hosts are closed before any byte is read. */
static void check_protected(struct beam_doctor *doctor)
{
	char mode[16];

	if (!beam_doctor_config(doctor, "protected-mode", mode, sizeof(mode)))
		return;
	if (strcmp(mode, "yes") == 0 && needs_no_password(doctor))
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "protected-mode",
				"CONFIG SET requirepass, or give the default user a password by "
				"ACL: until then only this host can connect, and pull",
				"on, and the default user has no password");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "protected-mode", "", "%s",
				strcmp(mode, "yes") == 0 ? "on, and there is a password" : "off");
}

/* True if the kernel's list of ports and ranges ("8080,9000-9010") contains the port. */
static bool lists_port(const char *list, int64_t port)
{
	while (*list) {
		char *end;
		int64_t first = strtoll(list, &end, 10);
		int64_t last = *end == '-' ? strtoll(end + 1, &end, 10) : first;

		if (end == list)
			return false;
		if (port >= first && port <= last)
			return true;
		list = end + (*end == ',');
	}
	return false;
}

/* A port in the kernel's range for outgoing connections may be in use at the next start. */
static void check_port_range(struct beam_doctor *doctor, int64_t port)
{
	char text[64], reserved[1024];
	char *end;
	int64_t first, last;

	if (!doctor->local ||
	    beam_doctor_read("/proc/sys/net/ipv4/ip_local_port_range", text, sizeof(text)) != 0)
		return;
	beam_doctor_read("/proc/sys/net/ipv4/ip_local_reserved_ports", reserved, sizeof(reserved));
	first = strtoll(text, &end, 10);
	last = strtoll(end, NULL, 10);
	if (port < first || port > last || lists_port(reserved, port))
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "port", "", "%" PRId64, port);
	else
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "port",
				"set rdbeam.port below that range, or reserve it by sysctl "
				"net.ipv4.ip_local_reserved_ports: another program's connection "
				"may occupy it at the next start",
				"%" PRId64 " lies in ip_local_port_range %" PRId64 "-%" PRId64,
				port, first, last);
}

static void check_pulls(struct beam_doctor *doctor)
{
	int64_t port = beam_view_status_number(&doctor->view, "port", 0);
	const char *error = beam_view_status(&doctor->view, "last_error");
	char text[24];

	if (strcmp(doctor->transport, "off") == 0) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "listener", "",
				"rdbeam.transport is off: nothing can be pulled");
		return;
	}
	if (port == 0 && !*error &&
	    strstr(beam_view_status(&doctor->view, "hidden_commands"), "config")) {
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "listener",
				"set rdbeam.bind and rdbeam.port in the server's configuration "
				"file and restart it",
				"none: CONFIG is renamed, so the server's own port is not known");
		return;
	}
	if (port == 0) {
		bool by_verbs = strcmp(doctor->transport, "verbs") == 0;
		/* otherwise the error is about the device itself */
		bool of_address = strstr(error, "rdbeam.port") || strstr(error, "rdbeam.bind");

		beam_doctor_add(
		    doctor, BEAM_LEVEL_FAIL, "listener",
		    !by_verbs    ? "choose another rdbeam.port or rdbeam.bind by CONFIG SET"
		    : of_address ? "do so by CONFIG SET, or CONFIG SET rdbeam.transport "
				   "auto: until then nothing can be pulled"
				 : "CONFIG SET rdbeam.transport auto, or fix the RDMA device "
				   "(checks rdma and rdma-files): until then nothing can be pulled",
		    "none: %s", *error ? error : "the server has no port or no address");
		return;
	}
	snprintf(text, sizeof(text), "%" PRId64, port);
	if (check_listener(doctor, text))
		check_protected(doctor);
	check_port_range(doctor, port);
}

void beam_doctor_service(struct beam_doctor *doctor)
{
	if (!doctor->view.status) {
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "module",
				"put \"loadmodule " RDBEAM_MODULE_PATH "\" (or where else it was "
				"installed) into the server's config and restart it",
				beam_view_info_number(&doctor->view, "loading", 0)
				    ? "not known while the server loads"
				    : "not loaded");
		return;
	}
	check_module_version(doctor);
	check_mode(doctor);
	check_fallbacks(doctor);
	if (check_daemon(doctor))
		check_pulls(doctor);
}
