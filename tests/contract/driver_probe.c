/* SPDX-License-Identifier: BSD-3-Clause
 * A queue pair with one receive, put into the error state: that flushes the receive, with an error. */
#include "driver_probe.h"

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#if RDBEAM_HAVE_VERBS
#include <infiniband/verbs.h>

#define WAIT_MS 2000

struct probe {
	struct ibv_context *device;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
};

static bool open_probe(struct probe *p)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	p->device = list && list[0] ? ibv_open_device(list[0]) : NULL;
	if (list)
		ibv_free_device_list(list);
	p->pd = p->device ? ibv_alloc_pd(p->device) : NULL;
	p->channel = p->pd ? ibv_create_comp_channel(p->device) : NULL;
	p->cq = p->channel ? ibv_create_cq(p->device, 4, NULL, p->channel, 0) : NULL;
	struct ibv_qp_init_attr wanted = {
	    .send_cq = p->cq,
	    .recv_cq = p->cq,
	    .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
	    .qp_type = IBV_QPT_RC};

	p->qp = p->cq ? ibv_create_qp(p->pd, &wanted) : NULL;
	return p->qp;
}

static void close_probe(struct probe *p)
{
	if (p->qp)
		ibv_destroy_qp(p->qp);
	if (p->cq)
		ibv_destroy_cq(p->cq);
	if (p->channel)
		ibv_destroy_comp_channel(p->channel);
	if (p->pd)
		ibv_dealloc_pd(p->pd);
	if (p->device)
		ibv_close_device(p->device);
}

/* 0 once the receive is there and the queue is armed for what is solicited. */
static int arm(struct probe *p)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1};
	struct ibv_recv_wr receive = {.num_sge = 0}, *bad;

	return ibv_modify_qp(p->qp, &attr,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				 IBV_QP_ACCESS_FLAGS) ||
	       ibv_post_recv(p->qp, &receive, &bad) || ibv_req_notify_cq(p->cq, 1);
}

/* The error is in the queue, and nothing has told so. */
static bool is_silent(struct probe *p)
{
	struct pollfd wait = {.fd = p->channel->fd, .events = POLLIN};
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *context;

	if (ibv_modify_qp(p->qp, &attr, IBV_QP_STATE))
		return false;
	if (poll(&wait, 1, WAIT_MS) == 0)
		return ibv_poll_cq(p->cq, 1, &wc) == 1 && wc.status != IBV_WC_SUCCESS;
	if (!ibv_get_cq_event(p->channel, &cq, &context))
		ibv_ack_cq_events(cq, 1);
	return false;
}

bool driver_tells_of_errors(void)
{
	struct probe p = {.channel = NULL};
	bool tells = !open_probe(&p) || arm(&p) || !is_silent(&p);

	close_probe(&p);
	return tells;
}
#else
bool driver_tells_of_errors(void)
{
	return true;
}
#endif
