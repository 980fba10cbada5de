/* SPDX-License-Identifier: BSD-3-Clause
 * A reader that does what no honest one does, with a good ticket: rdma-probe HOST:PORT CASE
 *	wrong-key, past-end, before-begin, write	one forbidden access: must be a remote access error
 *	other-session	reads with the key of another session of the same image
 *	unsealed	(while an image is being copied) reads where the next segment will be
 *	after-end	says DONE, so that the server ends the session, and reads on
 *	hold FILE	reads whole images, over and over, checking every segment's sum, until FILE is
 *			there; a session that the server ends is followed by the next. The images may
 *			go at any moment: what was read must never be mixed.
 *	queues N DEPTH	N sessions at once, DEPTH reads of 64 KiB each, every segment compared by its sum
 * Prints what came; exit 0: as it must be, 1: not, 77: the case could not be made.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "crc64.h"
#include "rdbeam/error.h"
#include "reader_talk.h"
#include "ticket.h"
#include "verbs.h"
#include "verbs_connect.h"

#define PATIENCE_MS  30000
#define SEGMENTS_MAX 4096
#define READ_BYTES   65536u
#define QUEUES_MAX   8
#define DEPTH_MAX    128

struct place {
	uint64_t address, crc;
	uint32_t rkey, len_bytes;
};

struct session {
	struct reader_talk talk;
	struct rdma_event_channel *events;
	struct verbs_link link;
	struct ibv_mr *mr;
	uint8_t *buf; /* one segment */
	struct place places[SEGMENTS_MAX];
	uint32_t nplaces; /* told, from 0 on */
	bool complete;
	uint32_t nsegments;
	uint32_t depth;
};

static struct beam_redis_addr primary = {.host = "127.0.0.1", .port = 6379};

static void die(const char *what, const char *why)
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

/* 0, or a code: the server may end sessions at any moment. */
static int session_open(struct session *s, uint32_t depth)
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

static void session_close(struct session *s)
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

/* The next completion of a READ or of something that failed; mails are taken on the way. Status, or
 * -1 when only a mail came, or none in time. */
static int next_status(struct session *s)
{
	struct pollfd pfd = {.fd = s->link.channel->fd, .events = POLLIN};
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
		poll(&pfd, 1, 1000);
		verbs_link_quiet(&s->link);
	}
	die("completion", "none in time");
	return -1;
}

static int post(struct session *s, enum ibv_wr_opcode opcode, uint64_t address, uint32_t rkey,
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

/* One access to its end; a mail in between does not count. */
static int try_access(struct session *s, enum ibv_wr_opcode opcode, uint64_t address, uint32_t rkey,
		      uint32_t len_bytes)
{
	int status = -1;

	if (post(s, opcode, address, rkey, 0, len_bytes))
		die("ibv_post_send", strerror(errno));
	while (status < 0)
		status = next_status(s);
	return status;
}

/* Until the image is complete, or at least `nplaces` are told. 0, or the connection's failure. */
static int await_places(struct session *s, uint32_t nplaces)
{
	while (!s->complete && (!nplaces || s->nplaces < nplaces))
		if (next_status(s) > 0)
			return BEAM_E_GONE;
	return 0;
}

/* Reads segment `index`, `depth` READs at once. 0 or the first bad status. */
static int read_segment(struct session *s, uint32_t index)
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

static bool sum_is_right(const struct session *s, uint32_t index)
{
	return beam_crc64(0, s->buf, s->places[index].len_bytes) == s->places[index].crc;
}

/* ---- cases ---------------------------------------------------------------------------------- */

static int expect_refusal(int status)
{
	printf("%s\n", ibv_wc_status_str((enum ibv_wc_status)status));
	return status == IBV_WC_REM_ACCESS_ERR ? 0 : 1;
}

static int bad_access(const char *name)
{
	static struct session s;

	if (session_open(&s, 1) || await_places(&s, 0))
		return 1;
	const struct place *last = &s.places[s.nsegments - 1];
	int status;

	/* The same access with the right key and bounds must succeed, or the refusal says nothing. */
	if (try_access(&s, IBV_WR_RDMA_READ, last->address, last->rkey, 64) != IBV_WC_SUCCESS)
		die("first READ", "the honest one was refused");
	if (!strcmp(name, "wrong-key"))
		status = try_access(&s, IBV_WR_RDMA_READ, last->address, last->rkey ^ 0x5a5a00, 64);
	else if (!strcmp(name, "past-end"))
		status = try_access(&s, IBV_WR_RDMA_READ, last->address + last->len_bytes - 32,
				    last->rkey, 64);
	else if (!strcmp(name, "before-begin"))
		status = try_access(&s, IBV_WR_RDMA_READ, s.places[0].address - 4096,
				    s.places[0].rkey, 64);
	else
		status = try_access(&s, IBV_WR_RDMA_WRITE, last->address, last->rkey, 64);
	int code = expect_refusal(status);

	/* A queue pair that takes no writes at all refuses one before it looks at the key. */
	if (!strcmp(name, "write") && status == IBV_WC_REM_INV_REQ_ERR)
		code = 0;
	session_close(&s);
	return code;
}

static int other_session(void)
{
	static struct session a, b;

	if (session_open(&a, 1) || await_places(&a, 0) || session_open(&b, 1) ||
	    await_places(&b, 0))
		return 1;
	if (a.places[0].rkey == b.places[0].rkey)
		die("keys", "two sessions were given the same");
	int code = expect_refusal(
	    try_access(&b, IBV_WR_RDMA_READ, a.places[0].address, a.places[0].rkey, 64));

	/* The session that the key belongs to is not the one that did wrong. */
	if (read_segment(&a, 0) || !sum_is_right(&a, 0))
		die("other session", "it was cut too");
	session_close(&b);
	session_close(&a);
	return code;
}

static int unsealed(void)
{
	static struct session s;

	if (session_open(&s, 1) || await_places(&s, 1))
		return 1;
	if (s.complete) {
		puts("the image was complete at once");
		session_close(&s);
		return 77;
	}
	uint64_t at = 0;
	uint32_t rkey = 0;

	for (uint32_t i = 0; i < SEGMENTS_MAX; i++)
		if (s.places[i].len_bytes && s.places[i].address + s.places[i].len_bytes > at) {
			at = s.places[i].address + s.places[i].len_bytes;
			rkey = s.places[i].rkey;
		}
	int code = expect_refusal(try_access(&s, IBV_WR_RDMA_READ, at, rkey, 64));

	session_close(&s);
	return code;
}

static int after_end(void)
{
	static struct session s;
	struct beam_wire_message done = {.type = BEAM_WIRE_DONE};
	int status = -1;

	if (session_open(&s, 1) || await_places(&s, 0))
		return 1;
	uint8_t *mail = verbs_link_mail(&s.link);

	if (verbs_link_send(&s.link, (uint32_t)beam_wire_encode(&done, mail)))
		return 1;
	/* Reads until the server's end of the connection is gone. */
	for (int tries = 0; tries < 100000; tries++) {
		if (post(&s, IBV_WR_RDMA_READ, s.places[0].address, s.places[0].rkey, 0, 64))
			break;
		do {
			status = next_status(&s);
		} while (status < 0);
		if (status)
			break;
	}
	printf("%s\n", ibv_wc_status_str((enum ibv_wc_status)status));
	session_close(&s);
	return status > 0 ? 0 : 1;
}

static int hold(const char *end_file)
{
	static struct session s;
	unsigned long sessions = 0, segments = 0, cut = 0;

	while (access(end_file, F_OK)) {
		if (session_open(&s, 4)) {
			session_close(&s);
			continue;
		}
		sessions++;
		bool alive = !await_places(&s, 0);

		for (uint32_t turn = 0; alive && access(end_file, F_OK); turn++) {
			uint32_t index = turn % s.nsegments;

			/* The slower for it: the image's memory is wanted while READs fly. */
			alive = !read_segment(&s, index);
			if (alive && !sum_is_right(&s, index)) {
				printf("MIXED: segment %u of generation %llu\n", index,
				       (unsigned long long)s.talk.gen.counter);
				return 1;
			}
			segments += alive;
		}
		cut += !alive;
		session_close(&s);
	}
	printf("sessions %lu, segments %lu, cut %lu, none mixed\n", sessions, segments, cut);
	return 0;
}

static int queues(uint32_t n, uint32_t depth)
{
	static struct session s[QUEUES_MAX];
	uint64_t bytes = 0;

	if (!n || n > QUEUES_MAX || !depth || depth > DEPTH_MAX)
		die("queues", "1 to 8 sessions, 1 to 128 READs");
	for (uint32_t q = 0; q < n; q++)
		if (session_open(&s[q], depth) || await_places(&s[q], 0))
			return 1;
	/* Each queue pair has its own segments in turn, READs of all in flight together. */
	for (uint32_t i = 0; i < s[0].nsegments; i += n) {
		for (uint32_t q = 0; q < n && i + q < s[q].nsegments; q++) {
			const struct place *place = &s[q].places[i + q];

			for (uint32_t at = 0; at < place->len_bytes && at < depth * READ_BYTES;
			     at += READ_BYTES) {
				uint32_t len = place->len_bytes - at;

				if (post(&s[q], IBV_WR_RDMA_READ, place->address + at, place->rkey,
					 at, len < READ_BYTES ? len : READ_BYTES))
					return 1;
			}
		}
		for (uint32_t q = 0; q < n && i + q < s[q].nsegments; q++) {
			const struct place *place = &s[q].places[i + q];

			for (uint32_t at = 0; at < place->len_bytes && at < depth * READ_BYTES;) {
				int status = next_status(&s[q]);

				if (status > 0)
					return expect_refusal(status), 1;
				at += status == 0 ? READ_BYTES : 0;
			}
			if (!sum_is_right(&s[q], i + q))
				die("compare", "a segment differs");
			bytes += place->len_bytes;
		}
	}
	for (uint32_t q = 0; q < n; q++)
		session_close(&s[q]);
	printf("%u queue pairs, depth %u: %llu bytes right\n", n, depth, (unsigned long long)bytes);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 2 ? argv[2] : "";

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3 || beam_redis_parse_addr(argv[1], &primary)) {
		fputs("usage: rdma-probe HOST:PORT CASE, see the head of probe.c\n", stderr);
		return 2;
	}
	if (!strcmp(name, "other-session"))
		return other_session();
	if (!strcmp(name, "unsealed"))
		return unsealed();
	if (!strcmp(name, "after-end"))
		return after_end();
	if (!strcmp(name, "hold") && argc == 4)
		return hold(argv[3]);
	if (!strcmp(name, "queues") && argc == 5)
		return queues((uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]));
	return bad_access(name);
}
