/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Packets for a non-blocking SEQPACKET socket: sent at once if possible, otherwise queued in order.
 * Queued file descriptors are duplicates, owned by the outbox.
 */
#ifndef DAEMON_OUTBOX_H
#define DAEMON_OUTBOX_H

#include <stdint.h>

#include "ctl.h"

struct outbox_packet;

struct outbox {
	struct outbox_packet *first;
	struct outbox_packet **last;
	uint32_t count;
};

/* Makes an empty outbox. */
void outbox_init(struct outbox *box);

/* Fills in the message's head, and sends or queues it. `fd` may be -1, and remains the caller's.
 * Returns 0, BEAM_E_GONE, or -errno. */
int outbox_send(struct outbox *box, int sock, enum beam_ctl_type type, void *message,
		uint32_t len_bytes, int fd);

/* Sends what the socket accepts. Returns 0 (`count` tells whether packets are left), BEAM_E_GONE or
 * -errno. */
int outbox_flush(struct outbox *box, int sock);

/* Drops all queued packets and closes their file descriptors. */
void outbox_clear(struct outbox *box);

#endif
