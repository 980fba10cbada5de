/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One reader's session. Segments are announced in batches: find those sealed since the last batch,
 * let the worker register them (neighbours in memory together), then announce them with their keys.
 */
#include "verbs_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "clock.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"

#define PLACE_BYTES (2 * (BEAM_WIRE_HEAD_BYTES + 16)) /* PLACED and SEALED */

/* ---- the worker's part ---------------------------------------------------------------------- */

static struct verbs_session *of_register(struct verbs_job *job)
{
	return (struct verbs_session *)((char *)job - offsetof(struct verbs_session, register_job));
}

static struct verbs_session *of_end(struct verbs_job *job)
{
	return (struct verbs_session *)((char *)job - offsetof(struct verbs_session, end_job));
}

static void register_work(struct verbs_job *job)
{
	struct verbs_session *session = of_register(job);
	int err = BEAM_FAULT("verbs_register");

	session->register_err = err ? err : verbs_register_batch(session);
}

static void end_work(struct verbs_job *job)
{
	struct verbs_session *session = of_end(job);

	verbs_link_stop(&session->link);
	verbs_deregister(session);
	verbs_link_close(&session->link);
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void end_done(struct verbs_job *job)
{
	struct verbs_session *session = of_end(job);

	untold_free(&session->untold);
	verbs_server_gone(session);
}

void verbs_session_end(struct verbs_session *session, int code)
{
	if (session->state == VERBS_ENDING)
		return;
	session->state = VERBS_ENDING;
	session->code = code;
	places_leave(&session->server->places, &session->place);
	beam_watch_remove(&session->watch);
	session->end_job = (struct verbs_job){.work = end_work, .done = end_done};
	verbs_worker_give(session->server->worker, &session->end_job);
}

void verbs_session_deny(struct verbs_session *session)
{
	if (session->state == VERBS_ENDING)
		return;
	beam_log(BEAM_LOG_WARNING,
		 "pull from %s asked for what it was not granted: remote access error, session "
		 "closed",
		 session->peer);
	verbs_session_end(session, BEAM_E_DENIED);
}

/* ---- finding and registering ---------------------------------------------------------------- */

static bool room_in_batch(void *arg)
{
	const struct verbs_session *session = arg;

	return session->nbatch < VERBS_BATCH && verbs_server_allowed(session->server) > 0;
}

static int add_to_batch(void *arg, uint32_t index, const struct beam_serve_segment *segment)
{
	struct verbs_session *session = arg;

	session->batch[session->nbatch++] = (struct verbs_place){.base = segment->base,
								 .crc = segment->crc,
								 .index = index,
								 .len_bytes = segment->len_bytes};
	session->server->allowed -= segment->len_bytes;
	return 1;
}

static void register_done(struct verbs_job *job)
{
	struct verbs_session *session = of_register(job);

	session->registering = false;
	session->registered_bytes += session->batch_registered;
	session->server->device.registered_bytes += session->batch_registered;
	session->batch_registered = 0;
	session->server->images->moved(session->server->images->ctx);
	if (session->state == VERBS_ENDING)
		return;
	if (session->register_err) {
		beam_log(BEAM_LOG_WARNING,
			 "registering %u segments for %s: %s (memory locking is limited by "
			 "LimitMEMLOCK or ulimit -l)",
			 session->nbatch, session->peer, beam_strerror(session->register_err));
		verbs_session_end(session, session->register_err);
		return;
	}
	verbs_session_pump(session);
}

static void discover(struct verbs_session *session)
{
	const struct beam_serve_images *images = session->server->images;
	const struct untold_visit visit = {session, room_in_batch, add_to_batch};

	if (!session->discover || session->registering || session->ntold < session->nbatch)
		return;
	session->nbatch = session->ntold = 0;
	/* Ask this first: if it says yes, the segments sealed by now are all there are. */
	session->complete.type = BEAM_WIRE_COMPLETE;
	bool complete = images->complete(images->ctx, session->image, &session->complete.complete);
	int all = untold_walk(&session->untold, images, session->image, &visit);

	if (all < 0) {
		verbs_session_end(session, all);
		return;
	}
	session->discover = all == 0;
	session->whole = all == 1 && complete;
	if (!session->nbatch)
		return;
	session->registering = true;
	session->register_job = (struct verbs_job){.work = register_work, .done = register_done};
	verbs_worker_give(session->server->worker, &session->register_job);
}

/* ---- words ---------------------------------------------------------------------------------- */

static uint32_t put_place(struct verbs_session *session, uint8_t *out)
{
	const struct verbs_place *place = &session->batch[session->ntold++];
	struct beam_wire_message placed = {.type = BEAM_WIRE_PLACED,
					   .placed = {.index = place->index,
						      .rkey = place->rkey,
						      .address = (uintptr_t)place->base}};
	struct beam_wire_message sealed = {
	    .type = BEAM_WIRE_SEALED,
	    .sealed = {.index = place->index, .len_bytes = place->len_bytes, .crc = place->crc}};
	size_t n = beam_wire_encode(&placed, out);

	session->told_bytes += place->len_bytes;
	return (uint32_t)(n + beam_wire_encode(&sealed, out + n));
}

/* Fills one mail with messages that are due. Returns its length in bytes; 0: nothing is due. */
static uint32_t fill(struct verbs_session *session, uint8_t *mail)
{
	struct beam_wire_message m;
	uint32_t n = 0;

	if (session->state == VERBS_WAITING && (session->waits.position != session->told.position ||
						session->waits.waiting != session->told.waiting)) {
		session->told = session->waits;
		m.type = BEAM_WIRE_WAITING;
		m.waiting = session->waits;
		return (uint32_t)beam_wire_encode(&m, mail);
	}
	if (session->state != VERBS_SERVED)
		return 0;
	if (!session->welcomed) {
		session->welcomed = true;
		m.type = BEAM_WIRE_WELCOME;
		m.welcome = session->welcome;
		n += beam_wire_encode(&m, mail);
	}
	while (session->nchecks && VERBS_MAIL_BYTES - n >= BEAM_WIRE_MESSAGE_MAX) {
		m.type = BEAM_WIRE_VALID;
		m.valid.tag = session->checks[--session->nchecks];
		n += beam_wire_encode(&m, mail + n);
	}
	while (!session->registering && session->ntold < session->nbatch &&
	       VERBS_MAIL_BYTES - n >= PLACE_BYTES)
		n += put_place(session, mail + n);
	if (session->whole && !session->registering && session->ntold == session->nbatch &&
	    !session->told_complete && VERBS_MAIL_BYTES - n >= BEAM_WIRE_MESSAGE_MAX) {
		session->told_complete = true;
		n += beam_wire_encode(&session->complete, mail + n);
	}
	return n;
}

void verbs_session_serve(struct verbs_session *session)
{
	const struct beam_serve_images *images = session->server->images;

	session->state = VERBS_SERVED;
	session->discover = true;
	images->moved(images->ctx);
	verbs_session_pump(session);
}

/* ---- what the reader says ------------------------------------------------------------------- */

/* The reader reports what it has read, since nobody else sees its READs. It can distort the
 * statistics, but only up to three times the bytes announced to it. */
static void count_read(struct verbs_session *session, uint64_t bytes)
{
	const struct beam_serve_images *images = session->server->images;

	if (bytes <= session->read_bytes || bytes > 3 * session->told_bytes)
		return;
	images->sent(images->ctx, session->image, bytes - session->read_bytes);
	session->read_bytes = bytes;
}

static int take(struct verbs_session *session, const struct beam_wire_message *message)
{
	if (session->state != VERBS_SERVED)
		return BEAM_E_PROTO;
	switch (message->type) {
	case BEAM_WIRE_CHECK:
		if (session->nchecks == sizeof(session->checks) / sizeof(session->checks[0]))
			return BEAM_E_PROTO;
		session->checks[session->nchecks++] = message->check.tag;
		return 0;
	case BEAM_WIRE_PROGRESS:
		count_read(session, message->done.bytes);
		return 0;
	case BEAM_WIRE_DONE:
		count_read(session, message->done.bytes);
		verbs_session_end(session, 0);
		return 0;
	default:
		return BEAM_E_PROTO;
	}
}

static void receive(struct verbs_session *session, const struct ibv_wc *wc)
{
	uint32_t number = VERBS_WR_NUMBER(wc->wr_id), at = 0;
	const uint8_t *mail = verbs_link_received(&session->link, number);
	int err = 0;

	while (!err && at < wc->byte_len && session->state != VERBS_ENDING) {
		struct beam_wire_message message;
		int n = beam_wire_decode(mail + at, wc->byte_len - at, &message);

		err = n > 0 ? take(session, &message) : BEAM_E_PROTO;
		at += (uint32_t)n;
	}
	if (!err && session->state != VERBS_ENDING)
		err = verbs_link_receive_again(&session->link, number);
	if (err)
		verbs_session_end(session, err);
}

/* The device has moved the queue pair to the error state. It does that by itself only when the
 * reader asked for something that it has no key for. Some devices report this by an event,
 * soft-RoCE only by flushed receives. A device that is gone flushes receives as well, but then it
 * no longer answers queries. */
static bool was_denied(const struct verbs_session *session, const struct ibv_wc *wc)
{
	const struct rdma_cm_id *id = session->link.id;
	struct ibv_port_attr port;

	return VERBS_WR_WORK(wc->wr_id) == VERBS_RECV && wc->status == IBV_WC_WR_FLUSH_ERR &&
	       !ibv_query_port(id->verbs, id->port_num, &port) && port.state == IBV_PORT_ACTIVE;
}

static void fail(struct verbs_session *session, const struct ibv_wc *wc)
{
	/* The device may have an event with more details. */
	verbs_server_async(session->server, session->link.id->verbs);
	if (session->state == VERBS_ENDING)
		return;
	if (was_denied(session, wc)) {
		verbs_session_deny(session);
		return;
	}
	beam_log(BEAM_LOG_INFO, "verbs session of %s: %s", session->peer,
		 ibv_wc_status_str(wc->status));
	verbs_session_end(session, BEAM_E_GONE);
}

static void complete(struct verbs_session *session, const struct ibv_wc *wc, uint64_t now)
{
	if (wc->status != IBV_WC_SUCCESS) {
		fail(session, wc);
	} else if (VERBS_WR_WORK(wc->wr_id) == VERBS_RECV) {
		session->heard_ms = now;
		receive(session, wc);
	} else {
		verbs_link_sent(&session->link, VERBS_WR_NUMBER(wc->wr_id));
		session->unsent_ms = session->link.nunsent == session->link.nsends ? 0 : now;
	}
}

/* Handles completions and arms the queue: for messages of the reader and for errors; and for
 * completed sends only when all mails are in use. So nothing else wakes the daemon while readers
 * READ. */
static void collect(struct verbs_session *session)
{
	struct ibv_wc wc[16];
	int n = 1;

	/* Poll once more after arming: completions that came in between would wake nobody. */
	for (bool armed = false; session->state != VERBS_ENDING && (n > 0 || !armed);) {
		n = ibv_poll_cq(session->link.cq, 16, wc);
		uint64_t now = n > 0 ? beam_now_ms() : 0;

		for (int i = 0; i < n && session->state != VERBS_ENDING; i++)
			complete(session, &wc[i], now);
		if (n < 0 || session->state == VERBS_ENDING)
			break;
		if (n == 0) {
			if (armed)
				break;
			armed = true;
			n = ibv_req_notify_cq(session->link.cq, session->link.nunsent != 0) ? -1
											    : 1;
		}
	}
	if (n < 0)
		verbs_session_end(session, -EIO);
}

static void send_filled(struct verbs_session *session)
{
	if (!session->link.nfilled || session->state == VERBS_ENDING)
		return;
	int err = verbs_link_send(&session->link);

	if (err)
		verbs_session_end(session, err);
	else if (!session->unsent_ms)
		session->unsent_ms = beam_now_ms();
}

/* Returns a mail to fill, or NULL; then the queue is armed for the next completed send. */
static uint8_t *free_mail(struct verbs_session *session)
{
	uint8_t *mail = verbs_link_mail(&session->link);

	if (mail)
		return mail;
	send_filled(session);
	collect(session);
	return session->state == VERBS_ENDING ? NULL : verbs_link_mail(&session->link);
}

/* Fills a mail, or finds segments for the next one. Returns false when there is nothing more for
 * now. */
static bool prepare(struct verbs_session *session)
{
	if (session->state != VERBS_SERVED && session->state != VERBS_WAITING)
		return false;
	uint8_t *mail = free_mail(session);
	uint32_t bytes = mail ? fill(session, mail) : 0;

	if (bytes)
		verbs_link_filled(&session->link, bytes);
	if (bytes || !mail)
		return bytes;
	if (!session->discover || session->registering || session->state != VERBS_SERVED ||
	    verbs_server_allowed(session->server) <= 0)
		return false;
	discover(session);
	return !session->registering;
}

/* Hands everything to the device at once: a reader with the first keys starts to read, and after
 * that the daemon should be asleep rather than take processor time from its reads. */
void verbs_session_pump(struct verbs_session *session)
{
	if (session->state == VERBS_SERVED)
		discover(session);
	while (prepare(session))
		;
	send_filled(session);
}

void verbs_session_poll(struct verbs_session *session)
{
	collect(session);
	verbs_session_pump(session);
}

static void on_completion(int fd, uint32_t events, void *arg)
{
	struct verbs_session *session = arg;
	struct verbs_server *server = session->server;

	(void)fd;
	(void)events;
	verbs_link_quiet(&session->link);
	verbs_session_poll(session);
	verbs_server_settle(server);
}

/* ---- start ---------------------------------------------------------------------------------- */

static int accept_with(struct verbs_session *session, const struct rdma_conn_param *asked)
{
	struct ibv_device_attr limits;
	struct rdma_cm_id *id = session->link.id;

	if (ibv_query_device(id->verbs, &limits))
		return -EIO;
	uint32_t depth = (uint32_t)limits.max_qp_rd_atom;

	if (depth > asked->responder_resources)
		depth = asked->responder_resources;
	struct rdma_conn_param param = {.responder_resources = (uint8_t)depth,
					.rnr_retry_count = 7};

	session->server->device.depth = depth;
	return rdma_accept(id, &param) ? -errno : 0;
}

int verbs_session_start(struct verbs_server *server, struct rdma_cm_id *id,
			const struct rdma_conn_param *asked, struct beam_served *image,
			const struct beam_wire_welcome *welcome, const char *peer)
{
	struct verbs_session *session = calloc(1, sizeof(*session));
	struct verbs_session **at = &server->sessions;
	int err;

	if (!session)
		return -ENOMEM;
	session->server = server;
	session->image = image;
	session->welcome = *welcome;
	session->start_ms = session->heard_ms = beam_now_ms();
	snprintf(session->peer, sizeof(session->peer), "%s", peer);
	err = verbs_link_open(&session->link, id, VERBS_SERVER_MAILS, VERBS_READER_MAILS, 0);
	if (err)
		goto free_session;
	err = ibv_req_notify_cq(session->link.cq, 1) ? -EIO : accept_with(session, asked);
	if (!err)
		err = beam_watch_add(server->loop, session->link.channel->fd, EPOLLIN,
				     on_completion, session, &session->watch);
	if (err)
		goto close_link;
	id->context = session;
	while (*at)
		at = &(*at)->next;
	*at = session;
	return 0;

close_link:
	verbs_link_give_up(&session->link);
free_session:
	free(session);
	return err;
}
