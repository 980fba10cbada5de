/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs server: places, time limits, rate limit, and fences. A fence is complete when every
 * session of the image is gone; a session is gone when the worker has destroyed its queue pair.
 */
#include "verbs_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "rdbeam/error.h"
#include "verbs_server.h"

#define IDLE_STALLS 5 /* silent sessions are dropped after this many stall timeouts */
#define CONNECT_MS  10000
#define TICK_MS     100
#define BURST_MS    200 /* worth of the rate may be announced at once */

static struct verbs_server *of(struct beam_server *server)
{
	return (struct verbs_server *)server;
}

/* ---- places --------------------------------------------------------------------------------- */

static struct verbs_session *of_place(struct place *place)
{
	return (struct verbs_session *)((char *)place - offsetof(struct verbs_session, place));
}

static uint32_t connecting(const struct verbs_server *server)
{
	uint32_t n = 0;

	for (const struct verbs_session *s = server->sessions; s; s = s->next)
		n += s->state == VERBS_CONNECTING;
	return n;
}

int verbs_server_has_room(const struct verbs_server *server, char text[BEAM_TEXT_BYTES])
{
	return places_have_room(&server->places, connecting(server), text);
}

static void tell_positions(struct verbs_server *server)
{
	struct place *place = server->places.waiting;
	uint32_t waiting = server->places.nwaiting;

	for (uint32_t position = 1; place; position++) {
		struct verbs_session *session = of_place(place);

		place = place->next; /* read before: a session that ends leaves the queue */
		session->waits = (struct beam_wire_waiting){position, waiting};
		verbs_session_pump(session);
	}
}

/* ---- rate ----------------------------------------------------------------------------------- */

/* The server does not see the READs. What it can delay is the key of the next segment. */
int64_t verbs_server_allowed(struct verbs_server *server)
{
	if (!server->rate)
		return INT64_MAX;
	uint64_t now = beam_now_ms();
	int64_t burst = (int64_t)(server->rate / 1000 * BURST_MS) + 1;
	double earned = (double)server->rate * (double)(now - server->refilled_ms) / 1000;

	if (earned < 1)
		return server->allowed; /* keep the time, so that slow rates add up */
	server->refilled_ms = now;
	if (earned >= (double)(burst - server->allowed))
		server->allowed = burst;
	else
		server->allowed += (int64_t)earned;
	return server->allowed;
}

/* ---- time ----------------------------------------------------------------------------------- */

/* While it reads, a reader sends messages only rarely (every VERBS_PROGRESS_MS). */
static uint64_t silence_ms(const struct verbs_server *server)
{
	uint64_t ms = IDLE_STALLS * server->stall_ms;

	return ms < VERBS_SILENT_MS ? VERBS_SILENT_MS : ms;
}

/* The time at which the session ends unless something happens before. */
static uint64_t end_ms(const struct verbs_server *server, const struct verbs_session *s)
{
	uint64_t end = UINT64_MAX;

	if (s->state == VERBS_CONNECTING)
		end = s->start_ms + CONNECT_MS;
	if (s->state == VERBS_SERVED)
		end = s->heard_ms + silence_ms(server);
	if ((s->state == VERBS_SERVED || s->state == VERBS_WAITING) && s->unsent_ms &&
	    s->unsent_ms + server->stall_ms < end)
		end = s->unsent_ms + server->stall_ms;
	return end;
}

static void on_tick(void *arg)
{
	struct verbs_server *server = arg;
	uint64_t now = beam_now_ms();

	for (struct verbs_session *s = server->sessions; s; s = s->next) {
		/* Completed sends wake nobody, so poll first; messages of the reader may have
		 * arrived, too. */
		if (end_ms(server, s) <= now && s->state != VERBS_CONNECTING)
			verbs_session_poll(s);
		if (end_ms(server, s) <= now)
			verbs_session_end(s, -ETIMEDOUT);
		else if (server->rate)
			verbs_session_pump(s);
	}
	verbs_server_settle(server);
}

/* Sets the tick to the next moment at which time alone changes something. While readers READ that
 * is far away, and the processor can stay idle. If the tick turns out to be too early, it sets the
 * next one. */
static void set_tick(struct verbs_server *server)
{
	uint64_t due = UINT64_MAX;

	for (const struct verbs_session *s = server->sessions; s; s = s->next) {
		uint64_t end = end_ms(server, s);

		if (server->rate && s->state == VERBS_SERVED && !s->told_complete)
			end = 0; /* soon */
		due = end < due ? end : due;
	}
	if (due == UINT64_MAX) {
		beam_timer_cancel(&server->tick);
		return;
	}
	uint64_t now = beam_now_ms(), at = due > now + TICK_MS ? due : now + TICK_MS;

	/* Do not let other events postpone a tick that is due. */
	if (server->tick && (server->tick_ms == at || (server->tick_ms < at && at != due)))
		return;
	server->tick_ms = at;
	if (beam_timer_set(server->loop, at - now, on_tick, server, &server->tick))
		beam_log(BEAM_LOG_WARNING, "no memory for the timeouts of pulls");
}

/* Sessions are freed only when their end jobs are done, never while the list is walked. */
void verbs_server_settle(struct verbs_server *server)
{
	struct place *next;

	if (server->stopping)
		return;
	while ((next = places_next(&server->places)))
		verbs_session_serve(of_place(next));
	tell_positions(server);
	set_tick(server);
}

/* ---- fences --------------------------------------------------------------------------------- */

static uint32_t server_sessions(struct beam_server *base, struct beam_served *image)
{
	uint32_t n = 0;

	for (struct verbs_session *s = of(base)->sessions; s; s = s->next)
		n += s->image == image;
	return n;
}

static void on_stopped(void *arg)
{
	struct verbs_server *server = arg;

	server->stopped(server->stopped_arg);
}

/* Use a timer, because close frees the worker, which is still busy with its last job here. */
static void tell_stopped(struct verbs_server *server)
{
	if (!server->sessions && beam_timer_set(server->loop, 0, on_stopped, server, &server->tick))
		beam_log(BEAM_LOG_WARNING, "no memory to end the verbs listeners");
}

void verbs_server_gone(struct verbs_session *session)
{
	struct verbs_server *server = session->server;
	struct beam_served *image = session->image;
	struct verbs_session **at = &server->sessions;
	void (*fenced)(void *arg) = session->fenced;
	void *fenced_arg = session->fenced_arg;

	server->device.registered_bytes -= session->registered_bytes;
	server->images->ended(server->images->ctx, image, session->peer, session->code,
			      session->read_bytes, beam_now_ms() - session->start_ms);
	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	free(session);
	server->images->release(server->images->ctx, image);
	if (fenced && !server_sessions((struct beam_server *)server, image))
		fenced(fenced_arg); /* the image may be gone after this call */
	if (server->stopping)
		tell_stopped(server);
	else
		verbs_server_settle(server);
}

/* A session's keys for all segments announced to it are valid until its end. */
static bool server_done(struct beam_server *base, struct beam_served *image, uint32_t index)
{
	(void)index;
	return !server_sessions(base, image);
}

static uint32_t server_drop(struct beam_server *base, struct beam_served *image, uint32_t index,
			    const char *why)
{
	uint32_t n = 0;

	(void)index;
	(void)why; /* a message cannot be sent over a queue pair that is cut */
	for (struct verbs_session *s = of(base)->sessions; s; s = s->next) {
		if (s->image != image || s->state == VERBS_ENDING)
			continue;
		n++;
		verbs_session_end(s, BEAM_E_STALE);
	}
	return n;
}

static int server_revoke(struct beam_server *base, struct beam_served *image, const char *why,
			 void (*fenced)(void *arg), void *arg)
{
	struct verbs_server *server = of(base);

	/* A message cannot be sent over a queue pair that is cut; the reader learns the reason with
	 * its next ticket. */
	(void)why;
	if (!server_sessions(base, image))
		return 0;
	for (struct verbs_session *s = server->sessions; s; s = s->next) {
		if (s->image != image)
			continue;
		s->fenced = fenced; /* called by the last session to go */
		s->fenced_arg = arg;
		verbs_session_end(s, BEAM_E_STALE);
	}
	return -EAGAIN;
}

/* ---- the table ------------------------------------------------------------------------------ */

static void server_configure(struct beam_server *base, const struct beam_server_opts *opts)
{
	struct verbs_server *server = of(base);

	server->places.max = opts->max_pulls;
	server->stall_ms = 1000ull * opts->stall_timeout_s;
	server->rate = opts->rate_limit;
	server->refilled_ms = beam_now_ms();
	for (struct verbs_session *s = server->sessions; s; s = s->next)
		verbs_session_pump(s);
	verbs_server_settle(server);
}

static void server_published(struct beam_server *base, struct beam_served *image)
{
	for (struct verbs_session *s = of(base)->sessions; s; s = s->next) {
		if (s->image != image || s->state != VERBS_SERVED)
			continue;
		s->discover = true;
		verbs_session_pump(s);
	}
	if (!of(base)->stopping)
		set_tick(of(base));
}

static void server_counts(struct beam_server *base, struct beam_server_counts *out)
{
	const struct verbs_server *server = of(base);

	*out = (struct beam_server_counts){.active = server->places.nserved,
					   .waiting = server->places.nwaiting,
					   .unauthenticated = connecting(server),
					   .device = server->device};
}

static uint32_t server_pulls(struct beam_server *base, struct beam_server_pull *out, uint32_t cap)
{
	uint64_t now = beam_now_ms();
	uint32_t n = 0;

	for (const struct verbs_session *s = of(base)->sessions; s && n < cap; s = s->next) {
		if (s->state != VERBS_SERVED)
			continue;
		out[n] = (struct beam_server_pull){.number = s->place.number,
						   .image = s->image,
						   .bytes = s->read_bytes,
						   .ms = (s->read_bytes ? s->heard_ms : now) -
							 s->place.since_ms};
		memcpy(out[n++].peer, s->peer, sizeof(s->peer));
	}
	return n;
}

static void stop_listening(struct verbs_server *server)
{
	for (uint32_t i = 0; i < server->nlisteners; i++)
		rdma_destroy_id(server->listeners[i]);
	server->nlisteners = 0;
	beam_timer_cancel(&server->listen_timer);
	verbs_server_unwatch(server);
}

static int server_stop(struct beam_server *base, void (*stopped)(void *arg), void *arg)
{
	struct verbs_server *server = of(base);

	server->stopping = true;
	server->stopped = stopped;
	server->stopped_arg = arg;
	beam_timer_cancel(&server->tick);
	stop_listening(server);
	for (struct verbs_session *s = server->sessions; s; s = s->next)
		verbs_session_end(s, BEAM_E_ABORTED);
	return server->sessions ? -EAGAIN : 0;
}

/* All sessions are gone, so the worker has nothing left to do. */
static void server_close(struct beam_server **base)
{
	if (!*base)
		return;
	struct verbs_server *server = of(*base);

	stop_listening(server);
	verbs_worker_close(&server->worker);
	beam_watch_remove(&server->events_watch);
	if (server->events)
		rdma_destroy_event_channel(server->events);
	beam_timer_cancel(&server->tick);
	free(server);
	*base = NULL;
}

#define CM_FILE "/dev/infiniband/rdma_cm"

/* Explains why no device can be used; rdma_cm reports only ENOENT or ENODEV. */
static void tell_lack(char error_text[BEAM_TEXT_BYTES])
{
	if (!access(CM_FILE, R_OK | W_OK))
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "no RDMA device here that is up and may be used (see: rdma link, and the "
			 "rights of /dev/infiniband/uverbs*)");
	else
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "no RDMA without " CM_FILE ": %s (modprobe rdma_ucm, or its rights)",
			 strerror(errno));
}

static int server_open(const struct beam_server_opts *opts, char error_text[BEAM_TEXT_BYTES],
		       struct beam_server **out)
{
	/* Most hosts have no device, and this is called again and again. */
	if (!verbs_device_any()) {
		snprintf(error_text, BEAM_TEXT_BYTES, "no RDMA device here (see: rdma link)");
		return -ENODEV;
	}
	struct verbs_server *server = calloc(1, sizeof(*server));
	struct beam_server *base = (struct beam_server *)server;
	int err = 0;

	if (!server)
		return -ENOMEM;
	server->loop = opts->loop;
	server->images = opts->images;
	server->lost = opts->lost;
	server->lost_arg = opts->lost_arg;
	server->events = rdma_create_event_channel();
	if (!server->events || !verbs_device_describe(NULL, &server->device)) {
		tell_lack(error_text);
		err = -ENODEV;
	}
	if (!err && fcntl(server->events->fd, F_SETFL, O_NONBLOCK))
		err = -errno;
	if (!err)
		err = verbs_worker_open(opts->loop, &server->worker);
	if (!err)
		err = beam_watch_add(opts->loop, server->events->fd, EPOLLIN, verbs_on_cm_event,
				     server, &server->events_watch);
	if (!err)
		err = verbs_listen(server, opts, error_text);
	if (err) {
		if (!error_text[0])
			snprintf(error_text, BEAM_TEXT_BYTES, "no RDMA listener: %s",
				 beam_strerror(err));
		server_close(&base);
		return err;
	}
	verbs_server_watch_all(server);
	server_configure(base, opts);
	*out = base;
	return 0;
}

const struct beam_server_ops beam_verbs_server = {
    .name = "verbs",
    .open = server_open,
    .configure = server_configure,
    .published = server_published,
    .revoke = server_revoke,
    .done = server_done,
    .drop = server_drop,
    .counts = server_counts,
    .pulls = server_pulls,
    .sessions = server_sessions,
    .stop = server_stop,
    .close = server_close,
};
