/* SPDX-License-Identifier: BSD-3-Clause
 * A queue of packets in front of a non-blocking socket. */
#include "outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "sockets.h"

struct outbox_packet {
	struct outbox_packet *next;
	int fd;
	uint32_t len_bytes;
	uint8_t bytes[];
};

void outbox_init(struct outbox *box)
{
	box->first = NULL;
	box->last = &box->first;
	box->count = 0;
}

static void drop_first(struct outbox *box)
{
	struct outbox_packet *packet = box->first;

	box->first = packet->next;
	if (!box->first)
		box->last = &box->first;
	box->count--;
	beam_close(&packet->fd);
	free(packet);
}

static int queue(struct outbox *box, const void *message, uint32_t len_bytes, int fd)
{
	struct outbox_packet *packet = malloc(sizeof(*packet) + len_bytes);

	if (!packet)
		return -ENOMEM;
	packet->next = NULL;
	packet->len_bytes = len_bytes;
	packet->fd = -1;
	memcpy(packet->bytes, message, len_bytes);
	if (fd >= 0) {
		packet->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (packet->fd < 0) {
			int err = -errno;

			free(packet);
			return err;
		}
	}
	*box->last = packet;
	box->last = &packet->next;
	box->count++;
	return 0;
}

int outbox_send(struct outbox *box, int sock, enum beam_ctl_type type, void *message,
		uint32_t len_bytes, int fd)
{
	struct beam_ctl_head *head = message;

	if (!box->first) {
		int err = beam_ctl_send(sock, type, message, len_bytes, fd);

		if (err != -EAGAIN)
			return err;
	}
	head->type = type;
	head->len_bytes = len_bytes;
	return queue(box, message, len_bytes, fd);
}

int outbox_flush(struct outbox *box, int sock)
{
	while (box->first) {
		struct outbox_packet *packet = box->first;
		int err = beam_packet_send(sock, packet->bytes, packet->len_bytes, &packet->fd,
					   packet->fd >= 0);

		if (err == -EAGAIN)
			return 0;
		if (err)
			return err;
		drop_first(box);
	}
	return 0;
}

void outbox_clear(struct outbox *box)
{
	while (box->first)
		drop_first(box);
}
