/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The three steps of rdma_cm, each with a time limit: resolve the address, resolve the route,
 * connect.
 */
#include "verbs_connect.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "rdb.h"
#include "rdbeam/error.h"

#define TIMEOUT_DEFAULT 18 /* 4.096 us * 2^18: about a second for each try */
#define RETRIES_DEFAULT 6  /* 7 would mean for ever */

int verbs_next_event(struct rdma_event_channel *events, int timeout_ms,
		     uint8_t reject[VERBS_REJECT_BYTES])
{
	struct pollfd pfd = {.fd = events->fd, .events = POLLIN};
	struct rdma_cm_event *event;
	int n = poll(&pfd, 1, timeout_ms);

	if (n <= 0)
		return n == 0 || errno == EINTR ? -ETIMEDOUT : -errno;
	if (rdma_get_cm_event(events, &event))
		return -errno;
	int type = (int)event->event;
	const struct rdma_conn_param *param = &event->param.conn;

	if (reject && type == RDMA_CM_EVENT_REJECTED && param->private_data) {
		size_t bytes = param->private_data_len < VERBS_REJECT_BYTES
				   ? param->private_data_len
				   : VERBS_REJECT_BYTES;

		memset(reject, 0, VERBS_REJECT_BYTES);
		memcpy(reject, param->private_data, bytes);
		reject[VERBS_REJECT_BYTES - 1] = 0;
	}
	rdma_ack_cm_event(event);
	return type;
}

/* Waits for the wanted event. Returns 0; any other event, or none in time, is an error. */
static int await(struct rdma_event_channel *events, enum rdma_cm_event_type wanted, int timeout_ms)
{
	int type = verbs_next_event(events, timeout_ms, NULL);

	if (type < 0)
		return type;
	return type == (int)wanted ? 0 : -ENODEV;
}

static int resolve_one(struct rdma_event_channel *events, struct sockaddr *source,
		       struct sockaddr *target, int timeout_ms, struct rdma_cm_id **out)
{
	struct rdma_cm_id *id;
	uint8_t timeout = (uint8_t)verbs_setting("RDBEAM_VERBS_TIMEOUT", TIMEOUT_DEFAULT, 14, 24);
	int err;

	if (rdma_create_id(events, &id, NULL, RDMA_PS_TCP))
		return -errno;
	err = rdma_resolve_addr(id, source, target, timeout_ms) ? -errno : 0;
	if (!err)
		err = await(events, RDMA_CM_EVENT_ADDR_RESOLVED, timeout_ms);
	/* Old kernels do not know this option and use their own default. */
	if (!err && rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout,
				    sizeof(timeout)))
		beam_log(BEAM_LOG_INFO, "verbs: the timeout stays the kernel's: %s",
			 strerror(errno));
	if (!err)
		err = rdma_resolve_route(id, timeout_ms) ? -errno : 0;
	if (!err)
		err = await(events, RDMA_CM_EVENT_ROUTE_RESOLVED, timeout_ms);
	if (!err && !id->verbs)
		err = -ENODEV;
	if (err) {
		rdma_destroy_id(id);
		return err;
	}
	*out = id;
	return 0;
}

static struct addrinfo *look_up(const char *host, const char *service, int family)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = family};
	struct addrinfo *list = NULL;

	return host && getaddrinfo(host, service, &hints, &list) == 0 ? list : NULL;
}

/* Uses the first address of `host` to which an RDMA device has a route. */
static int resolve_any(struct rdma_event_channel *events, const char *host,
		       const struct beam_reader_opts *opts, struct rdma_cm_id **id)
{
	const char *source_text = getenv("RDBEAM_VERBS_SOURCE");
	char service[16];
	int err = -EHOSTUNREACH;

	snprintf(service, sizeof(service), "%u", opts->port);
	struct addrinfo *list = look_up(host, service, AF_UNSPEC);

	for (struct addrinfo *info = list; info && err; info = info->ai_next) {
		struct addrinfo *source = look_up(source_text, NULL, info->ai_family);

		if (!source_text || source)
			err = resolve_one(events, source ? source->ai_addr : NULL, info->ai_addr,
					  opts->connect_timeout_ms, id);
		if (source)
			freeaddrinfo(source);
	}
	if (list)
		freeaddrinfo(list);
	return err;
}

int verbs_resolve(struct rdma_event_channel *events, const struct beam_reader_opts *opts,
		  struct rdma_cm_id **id, char error_text[BEAM_TEXT_BYTES])
{
	/* Try this address first: the ticket was issued to our address in its family, and would be
	 * refused to a reader that connects by the other family. */
	int err = resolve_any(events, opts->first, opts, id);

	if (err)
		err = resolve_any(events, opts->host, opts, id);
	if (!err)
		return 0;
	snprintf(error_text, BEAM_TEXT_BYTES,
		 "no RDMA device here leads to %.100s: %s; see rdma link and ip route, or use "
		 "--transport tcp",
		 opts->host, beam_strerror(err));
	return -ENODEV;
}

/* Reads a rejection: the server's own code and text, or nothing when nobody listens there. */
static int rejected(const uint8_t reject[VERBS_REJECT_BYTES], const struct beam_reader_opts *opts,
		    char error_text[BEAM_TEXT_BYTES])
{
	int code = (int32_t)beam_get_le32(reject);
	char text[VERBS_REJECT_TEXT_BYTES];

	snprintf(text, sizeof(text), "%s", (const char *)reject + 4);
	for (char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	if (code < 0 && text[0]) {
		snprintf(error_text, BEAM_TEXT_BYTES, "%.60s:%u says: %s", opts->host, opts->port,
			 text);
		return code;
	}
	snprintf(
	    error_text, BEAM_TEXT_BYTES,
	    "nobody takes RDMA connections at %.100s port %u; see rdbeam.transport and rdbeam.bind "
	    "on the primary",
	    opts->host, opts->port);
	return -ECONNREFUSED;
}

int verbs_connect(struct rdma_cm_id *id, const struct beam_wire_hello *hello,
		  const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES])
{
	uint8_t body[BEAM_WIRE_HELLO_BYTES], reject[VERBS_REJECT_BYTES] = {0};
	struct ibv_device_attr limits;

	if (ibv_query_device(id->verbs, &limits))
		return -EIO;
	beam_wire_encode_hello(hello, body);
	struct rdma_conn_param param = {
	    .private_data = body,
	    .private_data_len = sizeof(body),
	    .initiator_depth =
		(uint8_t)(limits.max_qp_init_rd_atom > 255 ? 255 : limits.max_qp_init_rd_atom),
	    .retry_count = (uint8_t)verbs_setting("RDBEAM_VERBS_RETRIES", RETRIES_DEFAULT, 1, 6),
	    .rnr_retry_count = 7};
	int type = rdma_connect(id, &param) ? -errno : 0;

	if (!type)
		type = verbs_next_event(id->channel, opts->connect_timeout_ms, reject);
	if (type == RDMA_CM_EVENT_ESTABLISHED)
		return 0;
	if (type == RDMA_CM_EVENT_REJECTED)
		return rejected(reject, opts, error_text);
	int err = type < 0 ? type : -EHOSTUNREACH;

	snprintf(error_text, BEAM_TEXT_BYTES,
		 "cannot connect to %.100s port %u over RDMA: %s; see rdbeam.transport on the "
		 "primary, and the network between",
		 opts->host, opts->port,
		 type < 0 ? beam_strerror(err) : rdma_event_str((enum rdma_cm_event_type)type));
	return err;
}
