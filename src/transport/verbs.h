/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What both ends of a verbs connection share. Control messages travel by SEND, several in one, in
 * mails of at most VERBS_MAIL_BYTES; the image's bytes travel by the reader's RDMA READs, which the
 * server's processor never sees. Of an image only sealed segments are registered, each session in
 * its own protection domain, REMOTE_READ only: what was not granted has no key.
 */
#ifndef BEAM_VERBS_H
#define BEAM_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>

#include "server.h"

#define VERBS_MAIL_BYTES   4096
#define VERBS_SERVER_MAILS 16    /* SENDs of the server under way, and receives of the reader */
#define VERBS_READER_MAILS 4     /* the other way round */
#define VERBS_PROGRESS_MS  20000 /* between what the reader says of its READs */
#define VERBS_SILENT_MS    30000 /* a reader that said nothing for so long may be gone */

/* wr_id: what a completion is of, and its number. */
enum verbs_work { VERBS_SEND, VERBS_RECV, VERBS_READ };
#define VERBS_WR_ID(work, number) ((uint64_t)(work) << 32 | (uint32_t)(number))
#define VERBS_WR_WORK(wr_id)      ((enum verbs_work)((wr_id) >> 32))
#define VERBS_WR_NUMBER(wr_id)    ((uint32_t)(wr_id))

/* A rejected connection's private data: a code and a text, both of the server's choice. */
#define VERBS_REJECT_TEXT_BYTES 120
#define VERBS_REJECT_BYTES      (4 + VERBS_REJECT_TEXT_BYTES)

/* ---- verbs_link.c: the objects of one connection --------------------------------------------- */

struct verbs_link {
	struct rdma_cm_id *id; /* owns the queue pair */
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel; /* its fd does not block */
	struct ibv_cq *cq;
	struct ibv_mr *mails_mr;
	uint8_t *mails; /* sends first, then receives */
	uint32_t nsends, nrecvs;
	uint32_t unsent[VERBS_SERVER_MAILS]; /* send mails not under way */
	uint32_t nunsent;
	/* Filled ones, on their way to the device all at once. */
	struct verbs_mail {
		uint32_t number, len_bytes;
	} filled[VERBS_SERVER_MAILS];
	uint32_t nfilled;
};

/* Builds all but the id, which must have its device, and posts the receives. `nreads`: READs, too.
 * 0 or -errno with nothing built. */
int verbs_link_open(struct verbs_link *link, struct rdma_cm_id *id, uint32_t nsends,
		    uint32_t nrecvs, uint32_t nreads);
/* The queue pair goes to error, is drained and destroyed: nothing reads or writes through it after
 * that. May take a while. */
void verbs_link_stop(struct verbs_link *link);
/* Of a link that was never connected: all but the id, at once. */
void verbs_link_give_up(struct verbs_link *link);
/* After stop, and after the memory registered in its domain was deregistered: the rest, the id
 * included. Its events must have been acknowledged. */
void verbs_link_close(struct verbs_link *link);

/* A mail to fill, or NULL when all are under way. */
uint8_t *verbs_link_mail(struct verbs_link *link);
/* The mail that verbs_link_mail returned last is filled; verbs_link_send sends it. */
void verbs_link_filled(struct verbs_link *link, uint32_t len_bytes);
/* Sends what is filled, in that order and by one call of the device. 0 or -errno, which ends the link. */
int verbs_link_send(struct verbs_link *link);
void verbs_link_sent(struct verbs_link *link, uint32_t number);
const uint8_t *verbs_link_received(const struct verbs_link *link, uint32_t number);
int verbs_link_receive_again(struct verbs_link *link, uint32_t number);
/* Takes the completion channel's events, so that it can become readable again. */
void verbs_link_quiet(struct verbs_link *link);

/* ---- verbs_device.c ------------------------------------------------------------------------- */

/* Whether the kernel has any device, in whatever state. Cheap, and asks no library: these look by netlink, and
 * where there is no RDMA the kernel answers each such look by running modprobe. */
bool verbs_device_any(void);
/* Tells port, GID and MTU of the device behind an id (or of the first that is up, for NULL). False
 * when there is none. */
bool verbs_device_describe(struct rdma_cm_id *id, struct beam_server_device *out);
/* A number from the environment, within limits; what is out of them is told and not used. */
uint32_t verbs_setting(const char *name, uint32_t value, uint32_t min, uint32_t max);

#endif
