/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared by both ends of a verbs connection. Control messages are sent by SEND, several of them in
 * one mail of at most VERBS_MAIL_BYTES. The image's bytes travel by the reader's RDMA READs, in
 * which the server's processor has no part. Only sealed segments of an image are registered, for
 * each session in a protection domain of its own, with REMOTE_READ only: there is no key for
 * anything that was not granted.
 */
#ifndef BEAM_VERBS_H
#define BEAM_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>

#include "server.h"

#define VERBS_MAIL_BYTES 4096
/* SENDs of the server in flight, and posted receives of the reader. */
#define VERBS_SERVER_MAILS 16
#define VERBS_READER_MAILS 4 /* the other way round */
/* Interval of the reader's reports about its READs. */
#define VERBS_PROGRESS_MS 20000
/* A reader without any message for this long may be gone. */
#define VERBS_SILENT_MS 30000

/* A wr_id holds the kind of work and a number. */
enum verbs_work { VERBS_SEND, VERBS_RECV, VERBS_READ };
#define VERBS_WR_ID(work, number) ((uint64_t)(work) << 32 | (uint32_t)(number))
#define VERBS_WR_WORK(wr_id)      ((enum verbs_work)((wr_id) >> 32))
#define VERBS_WR_NUMBER(wr_id)    ((uint32_t)(wr_id))

/* Private data of a rejected connection: a code and a text, both the server's. */
#define VERBS_REJECT_TEXT_BYTES 120
#define VERBS_REJECT_BYTES      (4 + VERBS_REJECT_TEXT_BYTES)

/* ---- verbs_link.c: the objects of one connection --------------------------------------------- */

struct verbs_link {
	struct rdma_cm_id *id; /* owns the queue pair */
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel; /* its fd is non-blocking */
	struct ibv_cq *cq;
	struct ibv_mr *mails_mr;
	uint8_t *mails; /* first those for sends, then those for receives */
	uint32_t nsends, nrecvs;
	uint32_t unsent[VERBS_SERVER_MAILS]; /* send mails not in flight */
	uint32_t nunsent;
	/* Filled mails, to be handed to the device together. */
	struct verbs_mail {
		uint32_t number, len_bytes;
	} filled[VERBS_SERVER_MAILS];
	uint32_t nfilled;
};

/* Builds everything but the id, which must be bound to its device, and posts the receives.
 * `nreads`: room for READs. Returns 0, or -errno with nothing built. */
int verbs_link_open(struct verbs_link *link, struct rdma_cm_id *id, uint32_t nsends,
		    uint32_t nrecvs, uint32_t nreads);
/* Moves the queue pair to the error state, drains it and destroys it: after that nothing reads or
 * writes through it. May take a while. */
void verbs_link_stop(struct verbs_link *link);
/* Frees, at once, everything but the id of a link that was never connected. */
void verbs_link_give_up(struct verbs_link *link);
/* To be called after stop, and after memory registered in its domain was deregistered: frees the
 * rest, including the id. The id's events must have been acknowledged. */
void verbs_link_close(struct verbs_link *link);

/* Returns a mail to fill, or NULL when all are in flight. */
uint8_t *verbs_link_mail(struct verbs_link *link);
/* Marks the mail returned by the last verbs_link_mail as filled; verbs_link_send will send it. */
void verbs_link_filled(struct verbs_link *link, uint32_t len_bytes);
/* Sends the filled mails, in order and with one call of the device. Returns 0, or -errno, after
 * which the link must be ended. */
int verbs_link_send(struct verbs_link *link);
/* Called when the send of mail `number` has completed: the mail can be filled again. */
void verbs_link_sent(struct verbs_link *link, uint32_t number);
/* The bytes of received mail `number`, valid until verbs_link_receive_again. */
const uint8_t *verbs_link_received(const struct verbs_link *link, uint32_t number);
/* Posts the receive of mail `number` again. Returns 0 or -errno. */
int verbs_link_receive_again(struct verbs_link *link, uint32_t number);
/* Consumes the completion channel's events, so that it can become readable again. */
void verbs_link_quiet(struct verbs_link *link);

/* ---- verbs_device.c ------------------------------------------------------------------------- */

/* True when the kernel has any RDMA device, in whatever state. Cheap, and does not use the
 * libraries: they look by netlink, and where there is no RDMA the kernel answers each such look by
 * running modprobe. */
bool verbs_device_any(void);
/* Gets name, port, GID and MTU of the device behind an id (NULL: of the first device that is up).
 * Returns false when there is none. */
bool verbs_device_describe(struct rdma_cm_id *id, struct beam_server_device *out);
/* Reads a number from the environment. A value out of range is logged and ignored; the default is
 * `value`. */
uint32_t verbs_setting(const char *name, uint32_t value, uint32_t min, uint32_t max);

#endif
