/* SPDX-License-Identifier: BSD-3-Clause
 * Sends and checks the control messages. */
#include "ctl.h"

#include <stdio.h>
#include <string.h>

#include "rdbeam/error.h"
#include "sockets.h"

int beam_ctl_send(int sock, enum beam_ctl_type type, void *message, uint32_t len_bytes, int fd)
{
	struct beam_ctl_head *head = message;

	head->type = type;
	head->len_bytes = len_bytes;
	return beam_packet_send(sock, message, len_bytes, &fd, fd >= 0);
}

static uint32_t message_bytes(uint32_t type)
{
	switch (type) {
	case BEAM_CTL_HELLO:
		return sizeof(struct beam_ctl_hello);
	case BEAM_CTL_CONFIG:
		return sizeof(struct beam_ctl_config);
	case BEAM_CTL_TICKET:
		return sizeof(struct beam_ctl_ticket);
	case BEAM_CTL_RELAY_TICKET:
		return sizeof(struct beam_ctl_relay_ticket);
	case BEAM_CTL_RELAY_KEY:
		return sizeof(struct beam_ctl_relay_key);
	case BEAM_CTL_READY:
		return sizeof(struct beam_ctl_ready);
	case BEAM_CTL_STATUS:
		return sizeof(struct beam_ctl_status);
	case BEAM_CTL_OPENED:
		return sizeof(struct beam_ctl_opened);
	case BEAM_CTL_BEGIN:
		return sizeof(struct beam_ctl_begin);
	case BEAM_CTL_JOIN:
		return sizeof(struct beam_ctl_join);
	case BEAM_CTL_NEED:
	case BEAM_CTL_SEALED:
	case BEAM_CTL_GRANTED:
		return sizeof(struct beam_ctl_index);
	case BEAM_CTL_COPIED:
		return sizeof(struct beam_ctl_copied);
	case BEAM_CTL_WAITING:
		return sizeof(struct beam_ctl_head);
	case BEAM_CTL_GENERATION:
		return sizeof(struct beam_ctl_generation);
	case BEAM_CTL_EXTENT:
		return sizeof(struct beam_ctl_extent);
	case BEAM_CTL_DURABLE:
		return sizeof(struct beam_ctl_durable);
	case BEAM_CTL_PROGRESS:
		return sizeof(struct beam_ctl_progress);
	case BEAM_CTL_LOG:
	case BEAM_CTL_UNSAVED:
	case BEAM_CTL_ABORT:
	case BEAM_CTL_REFUSED:
	case BEAM_CTL_FAILED:
		return sizeof(struct beam_ctl_text);
	default:
		return 0;
	}
}

int beam_ctl_check(const void *packet, uint32_t packet_bytes)
{
	struct beam_ctl_head head;

	if (packet_bytes < sizeof(head))
		return BEAM_E_PROTO;
	memcpy(&head, packet, sizeof(head));
	if (head.len_bytes != packet_bytes || message_bytes(head.type) != packet_bytes)
		return BEAM_E_PROTO;
	return 0;
}

int beam_ctl_send_text(int sock, enum beam_ctl_type type, int code, const char *text)
{
	struct beam_ctl_text message = {.code = code};

	snprintf(message.text, sizeof(message.text), "%s", text);
	return beam_ctl_send(sock, type, &message, sizeof(message), -1);
}
