/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon_served.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockets.h"

static uint32_t free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

void served_listen(struct rig *rig)
{
	rig->config.transport = BEAM_TRANSPORT_TCP;
	rig->config.port = free_port();
	rig->config.nbind = 1;
	strcpy(rig->config.bind[0], "127.0.0.1");
	rig_configure(rig);
	while (rig_next(rig, 5000) != BEAM_CTL_READY)
		;
	assert_string_equal(rig->ready.error, "");
	assert_int_equal(rig->ready.port, rig->config.port);
}

void served_open(struct rig *rig, uint32_t segments)
{
	assert_true(rig_open(rig, segments, NULL));
	served_listen(rig);
}

struct beam_reader_opts served_ticket(struct rig *rig, const char *addr)
{
	struct beam_ctl_ticket ticket = {.gen = rig->status.servable, .ttl_ms = 5000};
	struct beam_reader_opts opts = {.host = "127.0.0.1",
					.port = rig->config.port,
					.gen = ticket.gen,
					.connect_timeout_ms = 5000};

	beam_random(ticket.id, sizeof(ticket.id));
	beam_random(ticket.key, sizeof(ticket.key));
	snprintf(ticket.addr, sizeof(ticket.addr), "%s", addr);
	memcpy(opts.id, ticket.id, sizeof(opts.id));
	memcpy(opts.key, ticket.key, sizeof(opts.key));
	assert_int_equal(beam_ctl_send(rig->control, BEAM_CTL_TICKET, &ticket, sizeof(ticket), -1),
			 0);
	return opts;
}

int served_enter(const struct beam_reader_opts *opts, struct beam_reader **reader)
{
	struct beam_reader_event event;
	char text[BEAM_TEXT_BYTES];
	int n = beam_tcp_reader.open(opts, text, reader);

	if (n)
		return n;
	do {
		n = beam_tcp_reader.next(*reader, &event, 5000);
	} while (n == 1 && event.type != BEAM_READER_WELCOME);
	if (n == 1)
		return 0;
	beam_tcp_reader.close(reader, 0, 0);
	return n ? n : -ETIMEDOUT;
}

void served_next(struct beam_reader *reader, struct beam_reader_event *event,
		 enum beam_reader_event_type type)
{
	do {
		assert_int_equal(beam_tcp_reader.next(reader, event, 5000), 1);
	} while (event->type != type);
}
