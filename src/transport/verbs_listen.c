/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Listeners and rdma_cm events: decides who may connect. The HELLO arrives with the connection
 * request itself, so a caller without a good ticket is rejected before anything is built for it.
 */
#include "verbs_session.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "server_talk.h"

#define BACKLOG     64
#define EVENTS_TURN 64
/* Retry interval: an address may get a device at any time, and there is no notice of it. */
#define MISSING_MS 5000

/* ---- requests ------------------------------------------------------------------------------- */

static void reject(struct rdma_cm_id *id, const char *peer, int code, const char *text)
{
	uint8_t data[VERBS_REJECT_BYTES] = {0};

	beam_put_le32(data, (uint32_t)code);
	snprintf((char *)data + 4, VERBS_REJECT_TEXT_BYTES, "%s", text);
	if (rdma_reject(id, data, sizeof(data)))
		beam_log(BEAM_LOG_INFO, "rdma_reject of %s: %s", peer, strerror(errno));
	rdma_destroy_id(id);
	beam_log(BEAM_LOG_INFO, "pull from %s over verbs refused: %s", peer, text);
}

static int authorize(struct verbs_server *server, const uint8_t *hello_bytes, size_t len_bytes,
		     const char *peer, struct beam_served **image,
		     struct beam_wire_welcome *welcome, char text[BEAM_TEXT_BYTES])
{
	struct beam_wire_hello hello;
	int err = beam_wire_decode_hello(hello_bytes, len_bytes, &hello);

	if (err)
		snprintf(text, BEAM_TEXT_BYTES, "%s", beam_strerror(err));
	if (!err)
		err = verbs_server_has_room(server, text);
	if (!err)
		err = server_talk_hello(server->images, &hello, peer, 0, image, welcome, text);
	return err;
}

static void on_request(struct verbs_server *server, struct rdma_cm_id *id,
		       const struct rdma_conn_param *asked, const uint8_t *hello, size_t len_bytes)
{
	struct beam_wire_welcome welcome = {0};
	struct beam_served *image = NULL;
	char peer[BEAM_ADDR_BYTES], text[BEAM_TEXT_BYTES] = "";

	server_talk_peer(rdma_get_peer_addr(id), peer);
	if (server->stopping || !server->images->admits(server->images->ctx, peer)) {
		rdma_reject(id, NULL, 0); /* no reason given, as if nobody listened */
		rdma_destroy_id(id);
		return;
	}
	int err = authorize(server, hello, len_bytes, peer, &image, &welcome, text);

	if (!err) {
		err = verbs_session_start(server, id, asked, image, &welcome, peer);
		if (err)
			server->images->release(server->images->ctx, image);
	}
	if (err)
		reject(id, peer, err, text[0] ? text : beam_strerror(err));
}

/* ---- events --------------------------------------------------------------------------------- */

static void on_established(struct verbs_session *session)
{
	/* rdma_cm also allows remote writes and atomics. No memory is registered for them, and this
	 * removes them from the queue pair, too. */
	struct ibv_qp_attr attr = {.qp_access_flags = IBV_ACCESS_REMOTE_READ};

	if (session->state != VERBS_CONNECTING)
		return;
	if (ibv_modify_qp(session->link.id->qp, &attr, IBV_QP_ACCESS_FLAGS))
		beam_log(BEAM_LOG_INFO, "access flags of a queue pair: %s", strerror(errno));
	session->state = VERBS_WAITING;
	places_wait(&session->server->places, &session->place);
	session->heard_ms = beam_now_ms();
	verbs_server_watch(session->server, session->link.id->verbs);
	uint64_t bytes = session->server->device.registered_bytes;
	uint32_t depth = session->server->device.depth;

	verbs_device_describe(session->link.id, &session->server->device);
	session->server->device.registered_bytes = bytes;
	session->server->device.depth = depth;
}

static void on_session_event(struct verbs_session *session, enum rdma_cm_event_type type)
{
	switch (type) {
	case RDMA_CM_EVENT_ESTABLISHED:
		on_established(session);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		/* The reader's last message may still be in the queue. */
		if (session->state != VERBS_ENDING)
			verbs_session_poll(session);
		verbs_session_end(session, BEAM_E_GONE);
		break;
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		break;
	default: /* DEVICE_REMOVAL, CONNECT_ERROR, UNREACHABLE, REJECTED ... */
		beam_log(BEAM_LOG_INFO, "verbs session of %s: %s", session->peer,
			 rdma_event_str(type));
		verbs_session_end(session, BEAM_E_GONE);
		break;
	}
}

/* Acknowledge the event before anything can destroy its id, since that waits for the
 * acknowledgement. */
static void on_event(struct verbs_server *server, struct rdma_cm_event *event)
{
	enum rdma_cm_event_type type = event->event;
	struct rdma_cm_id *id = event->id;
	struct verbs_session *session = id->context;
	struct rdma_conn_param asked = event->param.conn;
	uint8_t hello[BEAM_WIRE_HELLO_BYTES] = {0};
	size_t len_bytes = 0;

	if (type == RDMA_CM_EVENT_CONNECT_REQUEST && asked.private_data) {
		len_bytes =
		    asked.private_data_len < sizeof(hello) ? asked.private_data_len : sizeof(hello);
		memcpy(hello, asked.private_data, len_bytes);
	}
	if (type == RDMA_CM_EVENT_DEVICE_REMOVAL)
		verbs_server_lost(server, id->verbs);
	rdma_ack_cm_event(event);
	if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
		id->context = NULL; /* inherited from the listener */
		on_request(server, id, &asked, hello, len_bytes);
	} else if (session) {
		on_session_event(session, type);
	} else {
		beam_log(BEAM_LOG_INFO, "verbs listener: %s", rdma_event_str(type));
	}
}

void verbs_on_cm_event(int fd, uint32_t events, void *arg)
{
	struct verbs_server *server = arg;
	struct rdma_cm_event *event;

	(void)fd;
	(void)events;
	for (int turn = 0; turn < EVENTS_TURN && !rdma_get_cm_event(server->events, &event); turn++)
		on_event(server, event);
	verbs_server_settle(server);
}

/* ---- listening ------------------------------------------------------------------------------ */

/* For a port that is in use rdma_cm reports that the address is not available. This finds out which
 * it is, by trying the address with any port. */
static int bind_failure(struct verbs_server *server, const struct addrinfo *info, int err)
{
	struct sockaddr_storage any_port = {0};
	struct rdma_cm_id *id;

	memcpy(&any_port, info->ai_addr, info->ai_addrlen);
	((struct sockaddr_in *)&any_port)->sin_port = 0; /* at the same offset in an IPv6 address */
	if (err != -EADDRNOTAVAIL || rdma_create_id(server->events, &id, NULL, RDMA_PS_TCP))
		return err;
	if (!rdma_bind_addr(id, (struct sockaddr *)&any_port))
		err = -EADDRINUSE;
	rdma_destroy_id(id);
	return err;
}

static int listen_at(struct verbs_server *server, struct addrinfo *info)
{
	struct rdma_cm_id *id;
	int on = 1;

	if (rdma_create_id(server->events, &id, NULL, RDMA_PS_TCP))
		return -errno;
	if ((info->ai_family == AF_INET6 &&
	     rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, &on, sizeof(on))) ||
	    rdma_bind_addr(id, info->ai_addr) || rdma_listen(id, BACKLOG)) {
		int err = -errno;

		rdma_destroy_id(id);
		return bind_failure(server, info, err);
	}
	server->listeners[server->nlisteners++] = id;
	return 0;
}

static int listen_on(struct verbs_server *server, const char *bind_text)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	const char *host = bind_text;
	struct addrinfo *list;
	char service[16];
	int err = -EADDRNOTAVAIL;

	if (!strcmp(bind_text, "*") || !strcmp(bind_text, "::*")) {
		hints.ai_family = bind_text[0] == '*' ? AF_INET : AF_INET6;
		host = NULL;
	}
	if (server->no_names)
		hints.ai_flags |= AI_NUMERICHOST;
	snprintf(service, sizeof(service), "%u", server->port);
	if (getaddrinfo(host, service, &hints, &list))
		return -EADDRNOTAVAIL;
	for (struct addrinfo *info = list; info && err; info = info->ai_next)
		err = listen_at(server, info);
	freeaddrinfo(list);
	return err;
}

static void tell_failure(const char *bind_text, uint32_t port, int err,
			 char error_text[BEAM_TEXT_BYTES])
{
	const char *remedy = "set addresses of RDMA devices of this host with rdbeam.bind (rdma "
			     "link)";

	if (err == -EADDRINUSE)
		remedy = "choose another with rdbeam.port";
	snprintf(error_text, BEAM_TEXT_BYTES, "no RDMA listener on %.*s port %u: %s; %s",
		 BEAM_ADDR_BYTES, bind_text, port, beam_strerror(err), remedy);
	beam_log(BEAM_LOG_INFO, "%s", error_text);
}

/* Retries the addresses that could not be listened on yet. */
static void listen_at_missing(void *arg)
{
	struct verbs_server *server = arg;
	uint32_t n = 0;

	for (uint32_t i = 0; i < server->nmissing; i++) {
		const char *bind_text = server->missing[i];

		if (listen_on(server, bind_text))
			memmove(server->missing[n++], bind_text, BEAM_ADDR_BYTES);
		else
			beam_log(BEAM_LOG_NOTICE, "pulls can also use RDMA at %s", bind_text);
	}
	server->nmissing = n;
	if (n)
		beam_timer_set(server->loop, MISSING_MS, listen_at_missing, server,
			       &server->listen_timer);
}

int verbs_listen(struct verbs_server *server, const struct beam_server_opts *opts,
		 char error_text[BEAM_TEXT_BYTES])
{
	int err = -EADDRNOTAVAIL;

	server->port = opts->port;
	server->no_names = opts->no_names;
	for (uint32_t i = 0; i < opts->nbind && i < VERBS_LISTENERS; i++) {
		int one = listen_on(server, opts->bind[i]);

		if (!one)
			continue;
		/* Go on without an address that has no RDMA device (such as loopback), as long as
		 * another one works. */
		err = one;
		tell_failure(opts->bind[i], opts->port, err, error_text);
		memcpy(server->missing[server->nmissing++], opts->bind[i], BEAM_ADDR_BYTES);
	}
	if (!server->nlisteners)
		return err;
	error_text[0] = 0;
	if (server->nmissing)
		beam_timer_set(server->loop, MISSING_MS, listen_at_missing, server,
			       &server->listen_timer);
	return 0;
}
