/* SPDX-License-Identifier: BSD-3-Clause */
#include "probe_session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "crc64.h"
#include "rdbeam/error.h"
#include "ticket.h"
#include "verbs_connect.h"

struct beam_redis_addr primary = {.host = "127.0.0.1", .port = 6379};

void die(const char *what, const char *why)
{
	printf("%s: %s\n", what, why);
	exit(1);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static int get_ticket(struct beam_ticket *ticket)
{
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_ticket_opts opts = {.from = &primary, .timeout_ms = PATIENCE_MS};
	struct beam_redis *redis;
	int err = beam_redis_open(&primary, PATIENCE_MS, error, &redis);

	if (!err) {
		err = beam_ticket_get(redis, &opts, error, ticket);
		beam_redis_close(&redis);
	}
	if (err)
		printf("ticket: %s\n", error);
	return err;
}

int session_open(struct session *s, uint32_t depth)
{
	struct beam_reader_opts opts = {.host = primary.host, .connect_timeout_ms = PATIENCE_MS};
	char text[BEAM_TEXT_BYTES] = "";
	struct beam_ticket ticket;
	struct rdma_cm_id *id;
	int err = get_ticket(&ticket);

	memset(s, 0, sizeof(*s));
	s->depth = depth;
	if (err)
		return err;
	opts.port = ticket.port;
	opts.gen = ticket.gen;
	memcpy(opts.id, ticket.id, sizeof(opts.id));
	memcpy(opts.key, ticket.key, sizeof(opts.key));
	reader_talk_begin(&s->talk, &opts);
	s->events = rdma_create_event_channel();
	if (!s->events)
		die("rdma_create_event_channel", strerror(errno));
	err = verbs_resolve(s->events, &opts, &id, text);
	if (err)
		die("resolve", text);
	err = verbs_link_open(&s->link, id, VERBS_READER_MAILS, VERBS_SERVER_MAILS, depth);
	if (err)
		die("queue pair", strerror(-err));
	err = verbs_connect(id, &s->talk.hello, &opts, text);
	if (err)
		printf("connect: %s\n", text);
	return err;
}

void session_close(struct session *s)
{
	verbs_link_stop(&s->link);
	if (s->mr)
		ibv_dereg_mr(s->mr);
	if (s->buf)
		munmap(s->buf, s->talk.welcome.segment_bytes);
	verbs_link_close(&s->link);
	if (s->events)
		rdma_destroy_event_channel(s->events);
	memset(s, 0, sizeof(*s));
}

static void open_buffer(struct session *s)
{
	size_t bytes = s->talk.welcome.segment_bytes;

	s->buf = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->buf == MAP_FAILED)
		die("buffer", strerror(errno));
	s->mr = ibv_reg_mr(s->link.pd, s->buf, bytes, IBV_ACCESS_LOCAL_WRITE);
	if (!s->mr)
		die("ibv_reg_mr", strerror(errno));
}

static void take_message(struct session *s, const struct beam_wire_message *m)
{
	struct beam_reader_event event;

	if (m->type == BEAM_WIRE_PLACED) {
		if (m->placed.index >= SEGMENTS_MAX)
			die("image", "more segments than the probe can keep");
		s->places[m->placed.index].address = m->placed.address;
		s->places[m->placed.index].rkey = m->placed.rkey;
		return;
	}
	int n = reader_talk_take(&s->talk, m, &event);

	if (n < 0)
		die("server", s->talk.error);
	if (event.type == BEAM_READER_WELCOME)
		open_buffer(s);
	if (event.type == BEAM_READER_SEALED) {
		s->places[event.sealed.index].len_bytes = event.sealed.len_bytes;
		s->places[event.sealed.index].crc = event.sealed.crc;
		s->nplaces++;
	}
	if (event.type == BEAM_READER_COMPLETE) {
		s->complete = true;
		s->nsegments = event.complete.nsegments;
	}
}

static void take_mail(struct session *s, const struct ibv_wc *wc)
{
	uint32_t number = VERBS_WR_NUMBER(wc->wr_id);
	const uint8_t *mail = verbs_link_received(&s->link, number);

	for (uint32_t at = 0; at < wc->byte_len;) {
		struct beam_wire_message m;
		int n = beam_wire_decode(mail + at, wc->byte_len - at, &m);

		if (n <= 0)
			die("server", "malformed message");
		at += (uint32_t)n;
		take_message(s, &m);
	}
	verbs_link_receive_again(&s->link, number);
}

/* `idle`: no READ is under way, whose completion would tell of the connection's end. */
static int next(struct session *s, bool idle)
{
	struct pollfd pfds[2] = {{.fd = s->link.channel->fd, .events = POLLIN},
				 {.fd = idle ? s->events->fd : -1, .events = POLLIN}};
	uint64_t end_ms = beam_now_ms() + PATIENCE_MS;
	struct ibv_wc wc;

	while (beam_now_ms() < end_ms) {
		ibv_req_notify_cq(s->link.cq, 0);
		if (ibv_poll_cq(s->link.cq, 1, &wc) == 1) {
			if (wc.status != IBV_WC_SUCCESS || VERBS_WR_WORK(wc.wr_id) == VERBS_READ)
				return (int)wc.status;
			if (VERBS_WR_WORK(wc.wr_id) == VERBS_SEND)
				return -1;
			take_mail(s, &wc);
			return -1;
		}
		poll(pfds, 2, 1000);
		verbs_link_quiet(&s->link);
		if (pfds[1].revents && verbs_next_event(s->events, 0, NULL) >= 0)
			return IBV_WC_WR_FLUSH_ERR;
	}
	die("completion", "none in time");
	return -1;
}

int next_status(struct session *s)
{
	return next(s, false);
}

int post(struct session *s, enum ibv_wr_opcode opcode, uint64_t address, uint32_t rkey,
	 uint32_t offset, uint32_t len_bytes)
{
	struct ibv_sge sge = {
	    .addr = (uintptr_t)s->buf + offset, .length = len_bytes, .lkey = s->mr->lkey};
	struct ibv_send_wr *bad, wr = {.wr_id = VERBS_WR_ID(VERBS_READ, 0),
				       .sg_list = &sge,
				       .num_sge = 1,
				       .opcode = opcode,
				       .wr.rdma = {.remote_addr = address, .rkey = rkey}};

	return ibv_post_send(s->link.id->qp, &wr, &bad);
}

int try_access(struct session *s, enum ibv_wr_opcode opcode, uint64_t address, uint32_t rkey,
	       uint32_t len_bytes)
{
	int status = -1;

	if (post(s, opcode, address, rkey, 0, len_bytes))
		die("ibv_post_send", strerror(errno));
	while (status < 0)
		status = next_status(s);
	return status;
}

int await_places(struct session *s, uint32_t nplaces)
{
	while (!s->complete && (!nplaces || s->nplaces < nplaces))
		if (next(s, true) > 0)
			return BEAM_E_GONE;
	return 0;
}

int read_segment(struct session *s, uint32_t index)
{
	const struct place *place = &s->places[index];
	uint32_t posted = 0, flying = 0;

	while (posted < place->len_bytes || flying) {
		while (posted < place->len_bytes && flying < s->depth) {
			uint32_t len = place->len_bytes - posted;

			len = len < READ_BYTES ? len : READ_BYTES;
			if (post(s, IBV_WR_RDMA_READ, place->address + posted, place->rkey, posted,
				 len))
				return IBV_WC_WR_FLUSH_ERR;
			posted += len;
			flying++;
		}
		int status = next_status(s);

		if (status > 0)
			return status;
		flying -= status == 0;
	}
	return 0;
}

bool sum_is_right(const struct session *s, uint32_t index)
{
	return beam_crc64(0, s->buf, s->places[index].len_bytes) == s->places[index].crc;
}

void await_end(struct session *s)
{
	int type;

	do
		type = verbs_next_event(s->events, PATIENCE_MS, NULL);
	while (type >= 0 && type != RDMA_CM_EVENT_DISCONNECTED);
	if (type < 0)
		die("the session's end", strerror(-type));
}

int say_done(struct session *s)
{
	struct beam_wire_message done = {.type = BEAM_WIRE_DONE};
	uint8_t *mail = verbs_link_mail(&s->link);

	verbs_link_filled(&s->link, (uint32_t)beam_wire_encode(&done, mail));
	return verbs_link_send(&s->link);
}

void make_snapshot(void)
{
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_redis *redis;
	redisReply *reply = NULL;

	if (beam_redis_open(&primary, PATIENCE_MS, error, &redis))
		die("snapshot", error);
	if (beam_redis_command(redis, &reply, "RDBEAM.SNAPSHOT WAIT %d", PATIENCE_MS))
		die("snapshot", beam_redis_error(redis));
	freeReplyObject(reply);
	beam_redis_close(&redis);
}
