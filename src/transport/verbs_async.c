/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Handles asynchronous events of RDMA devices: failed queue pairs, and devices that fail or go
 * away.
 */
#include "verbs_session.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include "log.h"
#include "rdbeam/error.h"

/* Finds the session of an event's queue pair or completion queue. Returns NULL when that session is
 * gone, or the event is about something else. */
static struct verbs_session *session_of(struct verbs_server *server,
					const struct ibv_async_event *event)
{
	bool by_cq = event->event_type == IBV_EVENT_CQ_ERR;

	for (struct verbs_session *s = server->sessions; s; s = s->next)
		if (s->state != VERBS_ENDING &&
		    (by_cq ? s->link.cq == event->element.cq : s->link.id->qp == event->element.qp))
			return s;
	return NULL;
}

static void on_lost(void *arg)
{
	struct verbs_server *server = arg;
	void (*lost)(void *) = server->lost;

	server->lost = NULL;
	lost(server->lost_arg);
}

void verbs_server_lost(struct verbs_server *server, struct ibv_context *device)
{
	if (server->stopping || !server->lost || server->lost_timer)
		return;
	beam_log(
	    BEAM_LOG_WARNING,
	    "RDMA device %s is gone or has failed: its pulls end, and rdbeamd looks for another",
	    device ? ibv_get_device_name(device->device) : "of a listener");
	if (beam_timer_set(server->loop, 0, on_lost, server, &server->lost_timer))
		beam_log(BEAM_LOG_WARNING, "no memory to look for an RDMA device");
}

static struct verbs_async *watched(struct verbs_server *server, const struct ibv_context *device)
{
	for (size_t i = 0; i < VERBS_DEVICES; i++)
		if (server->asyncs[i].device == device)
			return &server->asyncs[i];
	return NULL;
}

static void take(struct verbs_server *server, struct ibv_context *device,
		 const struct ibv_async_event *event)
{
	struct verbs_session *session;

	switch (event->event_type) {
	case IBV_EVENT_QP_ACCESS_ERR:
	case IBV_EVENT_QP_REQ_ERR:
		session = session_of(server, event);
		if (session)
			verbs_session_deny(session);
		break;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_CQ_ERR:
		session = session_of(server, event);
		if (session)
			verbs_session_end(session, BEAM_E_GONE);
		break;
	case IBV_EVENT_DEVICE_FATAL:
		verbs_server_lost(server, device);
		break;
	default:
		break;
	}
}

void verbs_server_async(struct verbs_server *server, struct ibv_context *device)
{
	struct ibv_async_event event;

	if (!watched(server, device))
		return; /* not watched, so its fd is blocking */
	while (!ibv_get_async_event(device, &event)) {
		take(server, device, &event);
		ibv_ack_async_event(&event);
	}
	if (errno == EAGAIN || errno == EINTR)
		return;
	/* The fd of a device that is gone stays readable for ever. */
	beam_watch_remove(&watched(server, device)->watch);
	verbs_server_lost(server, device);
}

static void on_async(int fd, uint32_t events, void *arg)
{
	struct verbs_server *server = arg;

	(void)events;
	for (size_t i = 0; i < VERBS_DEVICES; i++)
		if (server->asyncs[i].device && server->asyncs[i].device->async_fd == fd)
			verbs_server_async(server, server->asyncs[i].device);
	verbs_server_settle(server);
}

static void unwatch_devices(struct verbs_server *server)
{
	for (size_t i = 0; i < VERBS_DEVICES; i++) {
		beam_watch_remove(&server->asyncs[i].watch);
		server->asyncs[i].device = NULL;
	}
}

/* rdma_cm keeps one open context for each device, and closes it when the device is gone and nobody
 * holds the context. A dead device whose context is still there sends no events, so it is not
 * watched. */
void verbs_server_watch_all(struct verbs_server *server)
{
	struct ibv_context **before = server->devices;
	struct ibv_port_attr port;
	int ndevices = 0;
	struct ibv_context **devices = rdma_get_devices(&ndevices);

	if (!devices)
		return;
	unwatch_devices(server);
	server->devices = devices;
	for (int i = 0; i < ndevices && i < VERBS_DEVICES; i++) {
		int fd = devices[i]->async_fd;

		if (!ibv_query_port(devices[i], 1, &port) &&
		    !fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) &&
		    !beam_watch_add(server->loop, fd, EPOLLIN, on_async, server,
				    &server->asyncs[i].watch))
			server->asyncs[i].device = devices[i];
	}
	if (before)
		rdma_free_devices(before);
}

void verbs_server_watch(struct verbs_server *server, struct ibv_context *device)
{
	if (!watched(server, device))
		verbs_server_watch_all(server);
}

void verbs_server_unwatch(struct verbs_server *server)
{
	unwatch_devices(server);
	if (server->devices)
		rdma_free_devices(server->devices);
	server->devices = NULL;
	beam_timer_cancel(&server->lost_timer);
}
