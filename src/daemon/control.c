/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The module's connection (ctl.h): receives HELLO, CONFIG, TICKET and RELAY_TICKET; sends READY,
 * LOG, OPENED and RELAY_KEY (status.c sends STATUS). The daemon ends with the server, which it
 * notices by the server's pidfd or by the end of this socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

/* Also called by the region's and the disk's threads, so it bypasses the outbox, which belongs to
 * the loop. If the module does not read, the line goes to stderr. */
static void log_to_module(enum beam_log_level level, const char *text, void *arg)
{
	struct daemon *d = arg;

	if (beam_ctl_send_text(d->control, BEAM_CTL_LOG, (int)level, text))
		fprintf(stderr, "rdbeamd: %s\n", text);
}

void control_send(struct daemon *d, enum beam_ctl_type type, void *message, uint32_t len_bytes)
{
	int err = outbox_send(&d->control_box, d->control, type, message, len_bytes, -1);

	if (err)
		beam_loop_stop(d->loop);
	else if (d->control_box.count)
		beam_watch_modify(d->control_watch, EPOLLIN | EPOLLOUT);
}

void control_ready(struct daemon *d, const char *error)
{
	struct beam_ctl_ready ready = {
	    .pid = getpid(), .port = listeners_port(d), .config = d->config.number};

	listeners_names(d, ready.transports, sizeof(ready.transports));
	signing_public_key(d, ready.public_key);
	snprintf(ready.error, sizeof(ready.error), "%s", error);
	control_send(d, BEAM_CTL_READY, &ready, sizeof(ready));
}

static void server_ended(int fd, uint32_t events, void *arg)
{
	struct daemon *d = arg;

	(void)fd;
	(void)events;
	beam_loop_stop(d->loop);
}

/* Without the page, the module gets by messages what it would otherwise read there. */
static void take_page(struct daemon *d, int fd)
{
	int err = beam_status_page_open(fd, &d->page);

	if (err)
		beam_log(BEAM_LOG_NOTICE, "the module's status page: %s", beam_strerror(err));
}

static void hello(struct daemon *d, const struct beam_ctl_hello *message, int page_fd)
{
	if (d->greeted || message->protocol != BEAM_CTL_PROTOCOL) {
		beam_log(
		    BEAM_LOG_WARNING,
		    "rdbeamd speaks protocol %d and the module %u: install both from one build",
		    BEAM_CTL_PROTOCOL, message->protocol);
		beam_loop_stop(d->loop);
		return;
	}
	(void)BEAM_FAULT("daemon.hello");
	d->greeted = true;
	if (page_fd >= 0)
		take_page(d, page_fd);
	memcpy(d->secret, message->secret, sizeof(d->secret));
	d->server_pidfd = (int)syscall(SYS_pidfd_open, message->server_pid, 0);
	if (d->server_pidfd < 0 && errno == ESRCH) {
		beam_loop_stop(d->loop);
		return;
	}
	/* Without pidfds (an old kernel, a seccomp filter) the end of the socket has to do. */
	if (d->server_pidfd < 0)
		beam_log(BEAM_LOG_NOTICE, "pidfd_open of the server (pid %d): %s",
			 message->server_pid, strerror(errno));
	else if (beam_watch_add(d->loop, d->server_pidfd, EPOLLIN, server_ended, d,
				&d->server_watch))
		beam_loop_stop(d->loop);
	control_ready(d, "");
}

static bool texts_end(const struct beam_ctl_config *config)
{
	if (config->nbind > sizeof(config->bind) / sizeof(config->bind[0]))
		return false;
	for (uint32_t i = 0; i < config->nbind; i++)
		if (!memchr(config->bind[i], '\0', sizeof(config->bind[i])))
			return false;
	return true;
}

static void apply_config(void *arg)
{
	struct daemon *d = arg;
	struct beam_ctl_config old = d->config;

	d->config = d->new_config;
	d->configured = true;
	if (BEAM_FAULT("daemon.config"))
		return;
	d->region_full = false;
	grants_configure(d);
	listeners_configure(d, &old);
	chores_schedule(d);
	status_changed(d);
}

static void config(struct daemon *d, const struct beam_ctl_config *message)
{
	uint32_t segment = message->segment_bytes;
	char text[BEAM_TEXT_BYTES];

	if (!texts_end(message) || !segment || segment % BEAM_SEGMENT_ALIGN ||
	    segment > BEAM_SEGMENT_MAX || message->port > 65535) {
		snprintf(text, sizeof(text),
			 "configuration refused: segment-size %u (allowed: multiples of 2mb up to "
			 "%umb), port %u, %u addresses (at most 16)",
			 segment, BEAM_SEGMENT_MAX >> 20, message->port, message->nbind);
		beam_log(BEAM_LOG_WARNING, "%s", text);
		d->config.number = message->number;
		control_ready(d, text);
		return;
	}
	d->new_config = *message;
	if (beam_timer_set(d->loop, 0, apply_config, d, &d->config_timer))
		beam_loop_stop(d->loop);
}

static void relay_ticket(struct daemon *d, const struct beam_ctl_relay_ticket *asked)
{
	struct beam_ctl_relay_key answer = {.code = -EINVAL};

	memcpy(answer.id, asked->id, sizeof(answer.id));
	if (memchr(asked->addr, '\0', sizeof(asked->addr)))
		answer.code = beam_vouch_ticket_key(asked->relay_key, asked->id, asked->gen,
						    asked->addr, answer.key);
	control_send(d, BEAM_CTL_RELAY_KEY, &answer, sizeof(answer));
	explicit_bzero(&answer, sizeof(answer));
}

static void dispatch(struct daemon *d, const void *packet, uint32_t type, int fd)
{
	if (type == BEAM_CTL_HELLO)
		hello(d, packet, fd);
	else if (!d->greeted)
		beam_loop_stop(d->loop);
	else if (type == BEAM_CTL_CONFIG)
		config(d, packet);
	else if (type == BEAM_CTL_RELAY_TICKET)
		relay_ticket(d, packet);
	else if (type == BEAM_CTL_TICKET) {
		if (BEAM_FAULT("daemon.ticket") || tickets_add(&d->tickets, packet, beam_now_ms()))
			beam_log(BEAM_LOG_WARNING,
				 "ticket refused: it lacks an address or a lifetime");
	} else {
		beam_log(BEAM_LOG_WARNING, "unexpected message %u from the module", type);
	}
}

void control_drain(struct daemon *d)
{
	union {
		struct beam_ctl_head head;
		uint8_t bytes[BEAM_CTL_MAX_BYTES];
	} packet;
	int fds[BEAM_PACKET_FDS_MAX], nfds;

	for (;;) {
		ssize_t n = beam_packet_recv(d->control, &packet, sizeof(packet), fds, &nfds, 0);

		if (n == -EAGAIN)
			return;
		if (n < 0 && n != BEAM_E_PROTO) {
			beam_loop_stop(d->loop);
			return;
		}
		if (n < 0 || beam_ctl_check(&packet, (uint32_t)n))
			beam_log(BEAM_LOG_WARNING, "malformed message from the module ignored");
		else
			dispatch(d, &packet, packet.head.type, nfds ? fds[0] : -1);
		while (n > 0 && nfds)
			beam_close(&fds[--nfds]);
	}
}

static void control_event(int fd, uint32_t events, void *arg)
{
	struct daemon *d = arg;

	if (events & EPOLLOUT) {
		if (outbox_flush(&d->control_box, fd))
			beam_loop_stop(d->loop);
		if (!d->control_box.count)
			beam_watch_modify(d->control_watch, EPOLLIN);
	}
	if (events & ~(uint32_t)EPOLLOUT)
		control_drain(d);
}

int control_open(struct daemon *d)
{
	int flags = fcntl(d->control, F_GETFL);

	if (flags < 0 || fcntl(d->control, F_SETFL, flags | O_NONBLOCK) ||
	    fcntl(d->control, F_SETFD, FD_CLOEXEC))
		return -errno;
	outbox_init(&d->control_box);
	beam_log_init(log_to_module, d, BEAM_LOG_NOTICE);
	return beam_watch_add(d->loop, d->control, EPOLLIN, control_event, d, &d->control_watch);
}
