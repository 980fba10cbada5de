/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The reading end of a verbs session. READs go straight into the caller's memory; up to `depth` of
 * them are queued, of which the device keeps max_rd_atomic on the wire. Completions are signalled
 * by event; in quick succession, polling for a moment is cheaper than sleeping.
 */
#include "reader_talk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "verbs_buffers.h"
#include "verbs_connect.h"
#include "verbs_server.h"

#define DEPTH_DEFAULT 32
#define DEPTH_MAX     256
#define BOUNCE_BYTES  (1u << 20)
#define SPIN_NS       20000 /* longest time to poll for one completion */

struct place {
	uint64_t address;
	uint32_t rkey;
	bool known;
};

struct flight {
	uint64_t cookie;
	uint8_t *buf;
	const uint8_t *at; /* target of the READ: buf, or a bounce buffer */
	uint32_t len_bytes;
};

struct verbs_reader {
	struct beam_reader base;
	struct reader_talk talk;
	struct rdma_event_channel *events;
	struct verbs_link link;
	struct verbs_buffers *buffers;
	int epoll; /* over completions and rdma_cm's events */
	uint32_t depth, nfree;
	uint32_t unused[DEPTH_MAX]; /* free flights */
	struct flight flights[DEPTH_MAX];
	struct place *places;
	uint32_t nplaces;

	/* The mail being parsed. */
	const uint8_t *mail;
	uint32_t mail_at, mail_bytes, mail_number;

	bool check_unsent;
	uint64_t read_bytes, told_bytes, told_ms, began_ms;
	uint64_t gap_ns; /* average time between completions */
	uint64_t last_ns;
};

static struct verbs_reader *of(struct beam_reader *reader)
{
	return (struct verbs_reader *)reader;
}

static uint32_t in_flight(const struct verbs_reader *r)
{
	return r->depth - r->nfree;
}

static int fail_lost(struct verbs_reader *r, const char *what)
{
	return reader_talk_fail(&r->talk, BEAM_E_GONE, "%s: %s", r->talk.peer, what);
}

/* ---- open and close ------------------------------------------------------------------------- */

static void free_reader(struct verbs_reader *r)
{
	verbs_link_stop(&r->link);
	verbs_buffers_close(&r->buffers);
	verbs_link_close(&r->link);
	if (r->events)
		rdma_destroy_event_channel(r->events);
	beam_close(&r->epoll);
	explicit_bzero(r->talk.key, sizeof(r->talk.key));
	free(r->places);
	free(r);
}

static int watch(struct verbs_reader *r)
{
	struct epoll_event event = {.events = EPOLLIN};

	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0 || fcntl(r->events->fd, F_SETFL, O_NONBLOCK) ||
	    epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->link.channel->fd, &event) ||
	    epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->events->fd, &event))
		return -errno;
	return ibv_req_notify_cq(r->link.cq, 0) ? -EIO : 0;
}

static int open_link(struct verbs_reader *r, const struct beam_reader_opts *opts,
		     char error_text[BEAM_TEXT_BYTES])
{
	struct rdma_cm_id *id;
	int err = verbs_resolve(r->events, opts, &id, error_text);

	if (err)
		return err;
	err = verbs_link_open(&r->link, id, VERBS_READER_MAILS, VERBS_SERVER_MAILS, r->depth);
	if (err) {
		rdma_destroy_id(id);
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "no queue pair for a pull: %s; raise LimitMEMLOCK (ulimit -l), or use "
			 "--transport tcp",
			 beam_strerror(err));
		return -ENODEV;
	}
	err = verbs_buffers_open(r->link.pd, r->depth, BOUNCE_BYTES, &r->buffers);
	return err ? err : verbs_connect(id, &r->talk.hello, opts, error_text);
}

static int reader_open(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES],
		       struct beam_reader **out)
{
	struct verbs_reader *r = calloc(1, sizeof(*r));
	int err = 0;

	error_text[0] = 0;
	if (!r)
		return -ENOMEM;
	r->base.ops = &beam_verbs_reader;
	r->epoll = -1;
	r->depth = opts->depth ? opts->depth
			       : verbs_setting("RDBEAM_VERBS_DEPTH", DEPTH_DEFAULT, 1, DEPTH_MAX);
	if (r->depth > DEPTH_MAX)
		r->depth = DEPTH_MAX;
	while (r->nfree < r->depth) {
		r->unused[r->nfree] = r->nfree;
		r->nfree++;
	}
	reader_talk_begin(&r->talk, opts);
	r->began_ms = r->told_ms = beam_now_ms();
	r->events = rdma_create_event_channel();
	if (!r->events) {
		snprintf(error_text, BEAM_TEXT_BYTES,
			 "no RDMA device here (see rdma link): use --transport tcp");
		err = -ENODEV;
	}
	if (!err)
		err = open_link(r, opts, error_text);
	if (!err)
		err = watch(r);
	if (err) {
		if (!error_text[0])
			snprintf(error_text, BEAM_TEXT_BYTES, "RDMA to %.100s port %u: %s",
				 opts->host, opts->port, beam_strerror(err));
		free_reader(r);
		return err;
	}
	*out = &r->base;
	return 0;
}

/* ---- words to the server -------------------------------------------------------------------- */

static int say(struct verbs_reader *r, const struct beam_wire_message *message)
{
	uint8_t *mail = verbs_link_mail(&r->link);

	if (!mail)
		return -EAGAIN;
	verbs_link_filled(&r->link, (uint32_t)beam_wire_encode(message, mail));
	return verbs_link_send(&r->link) ? fail_lost(r, "the queue pair takes no work") : 0;
}

/* Sends what is due, as far as mails are free. */
static int say_due(struct verbs_reader *r)
{
	uint64_t now = beam_now_ms();
	int err = 0;

	if (r->check_unsent) {
		err = say(r, &(struct beam_wire_message){.type = BEAM_WIRE_CHECK});
		r->check_unsent = err == -EAGAIN;
	}
	if (r->talk.welcomed && now - r->told_ms >= VERBS_PROGRESS_MS && (!err || err == -EAGAIN)) {
		err = say(r, &(struct beam_wire_message){
				 .type = BEAM_WIRE_PROGRESS,
				 .done = {.bytes = r->read_bytes, .ms = now - r->began_ms}});
		if (!err)
			r->told_ms = now;
	}
	return err == -EAGAIN ? 0 : err;
}

/* The keys of a session are valid until its end, so the server need not be told. */
static void reader_taken(struct beam_reader *reader, uint32_t index)
{
	(void)reader;
	(void)index;
}

static int reader_check(struct beam_reader *reader)
{
	struct verbs_reader *r = of(reader);

	if (r->talk.failed)
		return r->talk.failed;
	if (!r->talk.welcomed)
		return -EINVAL;
	if (r->talk.checking)
		return 0; /* the pending answer also answers this one */
	r->talk.checking = r->check_unsent = true;
	return say_due(r);
}

static void reader_close(struct beam_reader **reader, uint64_t bytes, uint64_t ms)
{
	if (!*reader)
		return;
	struct verbs_reader *r = of(*reader);
	struct beam_reader_event event;

	if (!r->talk.failed && r->talk.complete && !in_flight(r) && bytes >= r->talk.image_bytes) {
		struct beam_wire_message done = {.type = BEAM_WIRE_DONE,
						 .done = {.bytes = bytes, .ms = ms}};
		uint64_t end_ms = beam_now_ms() + 1000;

		/* Wait for its completion: destroying a queue pair discards queued SENDs. */
		if (!say(r, &done))
			while (r->link.nunsent < r->link.nsends && beam_now_ms() < end_ms &&
			       r->base.ops->next(&r->base, &event, 20) >= 0)
				;
	}
	free_reader(r);
	*reader = NULL;
}

/* ---- reads ---------------------------------------------------------------------------------- */

static void reader_memory(struct beam_reader *reader, void *base, uint64_t len_bytes)
{
	verbs_buffers_area(of(reader)->buffers, base, len_bytes);
}

static int reader_read(struct beam_reader *reader, uint32_t index, uint32_t offset, void *buf,
		       uint32_t len_bytes, uint64_t cookie)
{
	struct verbs_reader *r = of(reader);
	struct ibv_sge sge;

	if (r->talk.failed)
		return r->talk.failed;
	if (!r->talk.welcomed || !len_bytes || len_bytes > r->talk.welcome.read_max ||
	    index >= r->nplaces || !r->places[index].known)
		return -EINVAL;
	if (!r->nfree)
		return -EAGAIN;
	uint32_t number = r->unused[r->nfree - 1];
	int err = verbs_buffers_find(r->buffers, buf, len_bytes, number, &sge);

	if (err)
		return reader_talk_fail(&r->talk, err,
					"no memory can be registered: %s; raise LimitMEMLOCK",
					beam_strerror(err));
	struct ibv_send_wr *bad;
	struct ibv_send_wr wr = {.wr_id = VERBS_WR_ID(VERBS_READ, number),
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_READ,
				 .wr.rdma = {.remote_addr = r->places[index].address + offset,
					     .rkey = r->places[index].rkey}};

	if (ibv_post_send(r->link.id->qp, &wr, &bad))
		return fail_lost(r, "the queue pair takes no READ");
	r->nfree--;
	r->flights[number] = (struct flight){.cookie = cookie,
					     .buf = buf,
					     .at = (const uint8_t *)(uintptr_t)sge.addr,
					     .len_bytes = len_bytes};
	return 0;
}

static int take_placed(struct verbs_reader *r, const struct beam_wire_placed *placed)
{
	if (placed->index >= BEAM_SEGMENTS_MAX)
		return reader_talk_fail_proto(&r->talk, "an impossible PLACED");
	if (placed->index >= r->nplaces) {
		uint32_t cap = r->nplaces ? r->nplaces : 256;

		while (cap <= placed->index)
			cap *= 2;
		struct place *grown = realloc(r->places, cap * sizeof(*grown));

		if (!grown)
			return reader_talk_fail(&r->talk, -ENOMEM, "no memory for %u segments",
						cap);
		memset(grown + r->nplaces, 0, (cap - r->nplaces) * sizeof(*grown));
		r->places = grown;
		r->nplaces = cap;
	}
	r->places[placed->index] =
	    (struct place){.address = placed->address, .rkey = placed->rkey, .known = true};
	return 0;
}

/* ---- events --------------------------------------------------------------------------------- */

/* Parses the mail at hand. Returns 1 with the next event, 0 when the mail is used up, or a code. */
static int parse(struct verbs_reader *r, struct beam_reader_event *event)
{
	while (r->mail && r->mail_at < r->mail_bytes) {
		struct beam_wire_message m;
		int n = beam_wire_decode(r->mail + r->mail_at, r->mail_bytes - r->mail_at, &m);

		if (n <= 0)
			return reader_talk_fail_proto(&r->talk, "a malformed message");
		r->mail_at += (uint32_t)n;
		if (r->talk.welcomed && m.type == BEAM_WIRE_PLACED)
			n = take_placed(r, &m.placed);
		else
			n = reader_talk_take(&r->talk, &m, event);
		if (n)
			return n;
	}
	if (!r->mail)
		return 0;
	r->mail = NULL;
	if (verbs_link_receive_again(&r->link, r->mail_number))
		return fail_lost(r, "the queue pair takes no receive");
	return 0;
}

static int fail_work(struct verbs_reader *r, const struct ibv_wc *wc)
{
	if (wc->status == IBV_WC_REM_ACCESS_ERR)
		return fail_lost(r,
				 "the READ was refused: the image was given up, or is another's");
	return fail_lost(r, ibv_wc_status_str(wc->status));
}

static void measure_gap(struct verbs_reader *r)
{
	uint64_t now = beam_now_ns();

	r->gap_ns = (7 * r->gap_ns + (now - r->last_ns)) / 8;
	r->last_ns = now;
}

/* Handles one completion. Returns 1 with *event, 0 without one, or a code. */
static int complete(struct verbs_reader *r, const struct ibv_wc *wc,
		    struct beam_reader_event *event)
{
	uint32_t number = VERBS_WR_NUMBER(wc->wr_id);

	if (wc->status != IBV_WC_SUCCESS)
		return fail_work(r, wc);
	measure_gap(r);
	if (VERBS_WR_WORK(wc->wr_id) == VERBS_SEND) {
		verbs_link_sent(&r->link, number);
		return 0;
	}
	if (VERBS_WR_WORK(wc->wr_id) == VERBS_RECV) {
		r->mail = verbs_link_received(&r->link, number);
		r->mail_at = 0;
		r->mail_bytes = wc->byte_len;
		r->mail_number = number;
		return parse(r, event);
	}
	struct flight *flight = &r->flights[number];
	int fault = BEAM_FAULT("verbs_pull_read");

	if (fault && fault != BEAM_FAULT_FLIP)
		return fail_lost(r, "a READ failed");
	if (flight->at != flight->buf)
		memcpy(flight->buf, flight->at, flight->len_bytes);
	if (fault == BEAM_FAULT_FLIP)
		flight->buf[flight->len_bytes - 1] ^= 1;
	r->unused[r->nfree++] = number;
	r->read_bytes += flight->len_bytes;
	event->type = BEAM_READER_DONE;
	event->cookie = flight->cookie;
	return 1;
}

/* Polls for one completion, for a moment longer when the next one is expected soon. */
static int poll_once(struct verbs_reader *r, struct ibv_wc *wc)
{
	uint64_t end_ns = in_flight(r) && r->gap_ns < SPIN_NS ? beam_now_ns() + SPIN_NS : 0;
	int n;

	do {
		n = ibv_poll_cq(r->link.cq, 1, wc);
	} while (!n && end_ns && beam_now_ns() < end_ns);
	return n;
}

/* Returns 1 with *event; 0 when nothing is ready and the completion queue is armed; or a code. */
static int take_ready(struct verbs_reader *r, struct beam_reader_event *event)
{
	struct ibv_wc wc;
	int n = parse(r, event);

	for (bool armed = false; !n;) {
		int got = armed ? ibv_poll_cq(r->link.cq, 1, &wc) : poll_once(r, &wc);

		if (got < 0)
			return fail_lost(r, "the completion queue is gone");
		if (got) {
			n = complete(r, &wc, event);
			continue;
		}
		if (armed)
			return 0;
		if (ibv_req_notify_cq(r->link.cq, 0))
			return fail_lost(r, "the completion queue takes no request");
		armed = true;
	}
	return n;
}

/* Handles the end of the connection. The caller has handled the completions before it. */
static int take_cm_event(struct verbs_reader *r)
{
	int type = verbs_next_event(r->events, 0, NULL);

	if (type == -ETIMEDOUT || type == RDMA_CM_EVENT_TIMEWAIT_EXIT || type == -EAGAIN)
		return 0;
	if (type == RDMA_CM_EVENT_DISCONNECTED)
		return fail_lost(r, "closed the connection");
	return fail_lost(r, type < 0 ? beam_strerror(type)
				     : rdma_event_str((enum rdma_cm_event_type)type));
}

static int reader_next(struct beam_reader *reader, struct beam_reader_event *event, int timeout_ms)
{
	struct verbs_reader *r = of(reader);
	uint64_t deadline = beam_now_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);

	if (r->talk.failed)
		return r->talk.failed;
	for (;;) {
		int n = say_due(r);

		if (!n)
			n = take_ready(r, event);
		if (n)
			return n;
		uint64_t now = beam_now_ms();
		int wait_ms = now < deadline ? (int)(deadline - now) : 0;
		struct epoll_event ready[2];

		/* Wake at least for the next PROGRESS. */
		if (timeout_ms < 0 || wait_ms > VERBS_PROGRESS_MS)
			wait_ms = VERBS_PROGRESS_MS;
		int nready = epoll_wait(r->epoll, ready, 2, wait_ms);

		if (nready > 0) {
			/* Both may be ready: handle completions first. */
			verbs_link_quiet(&r->link);
			n = take_ready(r, event);
			if (n)
				return n;
			n = take_cm_event(r);
			if (n)
				return n;
		}
		if (!timeout_ms || (nready <= 0 && timeout_ms > 0 && beam_now_ms() >= deadline))
			return 0;
	}
}

static const char *reader_error(const struct beam_reader *reader)
{
	return ((const struct verbs_reader *)reader)->talk.error;
}

static int reader_fd(const struct beam_reader *reader)
{
	return ((const struct verbs_reader *)reader)->epoll;
}

const struct beam_reader_ops beam_verbs_reader = {
    .name = "verbs",
    .open = reader_open,
    .memory = reader_memory,
    .read = reader_read,
    .check = reader_check,
    .taken = reader_taken,
    .next = reader_next,
    .error = reader_error,
    .close = reader_close,
    .fd = reader_fd,
};
