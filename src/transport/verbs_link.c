/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The protection domain, queues and mail buffers of one connection: built, used and torn down in
 * the same way on both ends.
 */
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "log.h"

#define DRAIN_MS 1000

static size_t mails_bytes(const struct verbs_link *link)
{
	return (size_t)(link->nsends + link->nrecvs) * VERBS_MAIL_BYTES;
}

static uint8_t *mail_at(const struct verbs_link *link, uint32_t number)
{
	return link->mails + (size_t)number * VERBS_MAIL_BYTES;
}

int verbs_link_receive_again(struct verbs_link *link, uint32_t number)
{
	struct ibv_sge sge = {.addr = (uintptr_t)verbs_link_received(link, number),
			      .length = VERBS_MAIL_BYTES,
			      .lkey = link->mails_mr->lkey};
	struct ibv_recv_wr wr = {
	    .wr_id = VERBS_WR_ID(VERBS_RECV, number), .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	return -ibv_post_recv(link->id->qp, &wr, &bad);
}

static int open_mails(struct verbs_link *link)
{
	void *memory = mmap(NULL, mails_bytes(link), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	link->mails = memory;
	link->mails_mr =
	    ibv_reg_mr(link->pd, link->mails, mails_bytes(link), IBV_ACCESS_LOCAL_WRITE);
	if (!link->mails_mr)
		return -errno;
	for (uint32_t i = 0; i < link->nsends; i++)
		link->unsent[link->nunsent++] = i;
	return 0;
}

static int open_queues(struct verbs_link *link, uint32_t nreads)
{
	int depth = (int)(link->nsends + link->nrecvs + nreads);

	link->channel = ibv_create_comp_channel(link->id->verbs);
	if (!link->channel || fcntl(link->channel->fd, F_SETFL, O_NONBLOCK))
		return -errno;
	link->cq = ibv_create_cq(link->id->verbs, depth, NULL, link->channel, 0);
	if (!link->cq)
		return -errno;
	struct ibv_qp_init_attr attr = {.send_cq = link->cq,
					.recv_cq = link->cq,
					.qp_type = IBV_QPT_RC,
					.sq_sig_all = 1,
					.cap = {.max_send_wr = link->nsends + nreads,
						.max_recv_wr = link->nrecvs,
						.max_send_sge = 1,
						.max_recv_sge = 1}};

	return rdma_create_qp(link->id, link->pd, &attr) ? -errno : 0;
}

int verbs_link_open(struct verbs_link *link, struct rdma_cm_id *id, uint32_t nsends,
		    uint32_t nrecvs, uint32_t nreads)
{
	int err = 0;

	*link = (struct verbs_link){.id = id, .nsends = nsends, .nrecvs = nrecvs};
	link->pd = ibv_alloc_pd(id->verbs);
	if (!link->pd)
		err = -errno;
	if (!err)
		err = open_mails(link);
	if (!err)
		err = open_queues(link, nreads);
	for (uint32_t i = 0; !err && i < nrecvs; i++)
		err = verbs_link_receive_again(link, i);
	if (!err)
		return 0;
	beam_log(BEAM_LOG_WARNING,
		 "no verbs objects for a pull on %s: %s (memory locking is limited by "
		 "LimitMEMLOCK or ulimit -l)",
		 ibv_get_device_name(id->verbs->device), strerror(-err));
	verbs_link_give_up(link);
	return err;
}

void verbs_link_give_up(struct verbs_link *link)
{
	if (link->id && link->id->qp)
		rdma_destroy_qp(link->id);
	link->id = NULL; /* stays the caller's */
	verbs_link_close(link);
}

void verbs_link_quiet(struct verbs_link *link)
{
	struct ibv_cq *cq;
	void *context;

	while (!ibv_get_cq_event(link->channel, &cq, &context))
		ibv_ack_cq_events(cq, 1);
}

/* Every receive is completed as flushed; the last of them tells that the queue pair has finished
 * its work. A device that is gone flushes nothing, hence the time limit; what counts is that the
 * queue pair is destroyed. */
static void drain(struct verbs_link *link)
{
	uint64_t end_ms = beam_now_ms() + DRAIN_MS;
	uint32_t left = link->nrecvs + link->nsends - link->nunsent;
	struct pollfd pfd = {.fd = link->channel->fd, .events = POLLIN};
	struct ibv_wc wc[16];

	while (left && beam_now_ms() < end_ms) {
		/* Arm before polling, so that no completion is missed in between. */
		int n = ibv_req_notify_cq(link->cq, 0) ? -1 : ibv_poll_cq(link->cq, 16, wc);

		if (n < 0)
			return;
		for (int i = 0; i < n; i++)
			left -= left && VERBS_WR_WORK(wc[i].wr_id) != VERBS_READ;
		if (!n && poll(&pfd, 1, DRAIN_MS) > 0)
			verbs_link_quiet(link);
	}
}

void verbs_link_stop(struct verbs_link *link)
{
	struct ibv_qp_attr error = {.qp_state = IBV_QPS_ERR};

	if (!link->id || !link->id->qp)
		return;
	if (!ibv_modify_qp(link->id->qp, &error, IBV_QP_STATE))
		drain(link);
	/* Fails without a connection, which does no harm. */
	rdma_disconnect(link->id);
	rdma_destroy_qp(link->id);
}

void verbs_link_close(struct verbs_link *link)
{
	if (link->mails_mr)
		ibv_dereg_mr(link->mails_mr);
	if (link->mails)
		munmap(link->mails, mails_bytes(link));
	if (link->cq) {
		verbs_link_quiet(link);
		ibv_destroy_cq(link->cq);
	}
	if (link->channel)
		ibv_destroy_comp_channel(link->channel);
	if (link->pd)
		ibv_dealloc_pd(link->pd);
	if (link->id)
		rdma_destroy_id(link->id);
	memset(link, 0, sizeof(*link));
}

uint8_t *verbs_link_mail(struct verbs_link *link)
{
	return link->nunsent ? mail_at(link, link->unsent[link->nunsent - 1]) : NULL;
}

void verbs_link_filled(struct verbs_link *link, uint32_t len_bytes)
{
	link->filled[link->nfilled++] =
	    (struct verbs_mail){link->unsent[--link->nunsent], len_bytes};
}

int verbs_link_send(struct verbs_link *link)
{
	struct ibv_send_wr wrs[VERBS_SERVER_MAILS], *bad;
	struct ibv_sge sges[VERBS_SERVER_MAILS];
	uint32_t n = link->nfilled;

	if (!n)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct verbs_mail *mail = &link->filled[i];

		sges[i] = (struct ibv_sge){.addr = (uintptr_t)mail_at(link, mail->number),
					   .length = mail->len_bytes,
					   .lkey = link->mails_mr->lkey};
		wrs[i] = (struct ibv_send_wr){.wr_id = VERBS_WR_ID(VERBS_SEND, mail->number),
					      .next = i + 1 < n ? &wrs[i + 1] : NULL,
					      .sg_list = &sges[i],
					      .num_sge = 1,
					      .opcode = IBV_WR_SEND,
					      /* wakes a peer that waits for solicited events
					       * only */
					      .send_flags = IBV_SEND_SOLICITED};
	}
	link->nfilled = 0;
	return -ibv_post_send(link->id->qp, wrs, &bad);
}

void verbs_link_sent(struct verbs_link *link, uint32_t number)
{
	if (number < link->nsends && link->nunsent < link->nsends)
		link->unsent[link->nunsent++] = number;
}

const uint8_t *verbs_link_received(const struct verbs_link *link, uint32_t number)
{
	return mail_at(link, link->nsends + number);
}
