/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The connections of the forked child: one for the coordinator and one for each worker. Each comes
 * with the pidfd of its process, because a slot must not be reused while a process lives that could
 * write into it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* since Linux 6.5 */
#endif

#define STRANGERS_MAX 64 /* connections that have sent neither BEGIN nor JOIN */

static void free_writer(struct writer *writer)
{
	struct daemon *d = writer->d;

	for (struct writer **at = &d->writers; *at; at = &(*at)->next) {
		if (*at == writer) {
			*at = writer->next;
			break;
		}
	}
	beam_watch_remove(&writer->watch);
	beam_watch_remove(&writer->pid_watch);
	beam_close(&writer->fd);
	beam_close(&writer->pidfd);
	outbox_clear(&writer->box);
	free(writer);
}

void writers_detach(struct writer *writer)
{
	if (writer->gen && writer->gen->coordinator == writer)
		writer->gen->coordinator = NULL;
	free_writer(writer);
}

/* Closes the socket. The writer itself is freed with its process or its generation. */
void writers_close(struct writer *writer)
{
	struct generation *gen = writer->gen;

	beam_watch_remove(&writer->watch);
	beam_close(&writer->fd);
	outbox_clear(&writer->box);
	writer->waiting = false;
	if (!gen) {
		free_writer(writer);
		return;
	}
	bool was_coordinator = gen->coordinator == writer;

	if (was_coordinator)
		gen->coordinator = NULL;
	if (was_coordinator && gen->state == GEN_FILLING)
		generation_fail(gen, BEAM_E_GONE,
				"the saving process died before its copy was complete");
	else if (was_coordinator && gen->state == GEN_FLUSHING)
		generation_finish(gen, BEAM_E_GONE, "the save was cancelled before it was on disk");
	else if (gen->state == GEN_RETIRING)
		generation_fence(gen);
}

bool writers_alive(const struct generation *gen)
{
	for (const struct writer *w = gen->d->writers; w; w = w->next) {
		if (w->gen != gen)
			continue;
		/* After ABORT the coordinator may live on, as it saves the stock way. The
		 * connections of its workers are closed when they end. */
		if (gen->silent_writers ? w->fd >= 0 && w != gen->coordinator : w->pidfd >= 0)
			return true;
	}
	return false;
}

void writers_send(struct writer *writer, enum beam_ctl_type type, void *message, uint32_t len_bytes,
		  int fd)
{
	if (writer->fd < 0)
		return;
	int err = outbox_send(&writer->box, writer->fd, type, message, len_bytes, fd);

	/* A peer that is gone is handled by the loop. */
	if (err && err != BEAM_E_GONE) {
		beam_log(BEAM_LOG_WARNING, "message %d to saving process %d: %s", (int)type,
			 (int)writer->pid, beam_strerror(err));
		shutdown(writer->fd, SHUT_RDWR);
	}
	if (writer->box.count)
		beam_watch_modify(writer->watch, EPOLLIN | EPOLLOUT);
}

void writers_send_text(struct writer *writer, enum beam_ctl_type type, int code, const char *text)
{
	struct beam_ctl_text message = {.code = code};

	strncpy(message.text, text, sizeof(message.text) - 1);
	writers_send(writer, type, &message, sizeof(message), -1);
}

static bool secret_ok(struct writer *writer, const uint8_t secret[BEAM_SECRET_BYTES])
{
	if (writer->d->greeted && tickets_equal(secret, writer->d->secret, BEAM_SECRET_BYTES))
		return true;
	if (beam_log_may(&writer->d->stranger_lines))
		beam_log(BEAM_LOG_WARNING,
			 "process %d refused: it does not know the server's secret",
			 (int)writer->pid);
	writers_send_text(writer, BEAM_CTL_REFUSED, BEAM_E_DENIED, "wrong secret");
	return false;
}

/* Returns 0, or a code: then the connection is to be closed. */
static int join(struct writer *writer, const struct beam_ctl_join *message)
{
	struct generation *gen = writer->d->gens;

	if (!secret_ok(writer, message->secret))
		return BEAM_E_DENIED;
	while (gen &&
	       (gen->id.counter != message->gen.counter || gen->id.nonce != message->gen.nonce))
		gen = gen->next;
	if (gen && gen->state == GEN_FILLING) {
		writer->gen = gen;
		grants_send_extents(writer, message->extents_known);
		return BEAM_FAULT("daemon.join");
	}
	/* A worker does not wait for the answer: it may be writing already, so the fence has to
	 * wait for it. */
	if (gen && gen->state == GEN_RETIRING)
		writer->gen = gen;
	/* Otherwise it is late and has nothing left to do: a worker may have finished before its
	 * JOIN is read. */
	writers_send_text(writer, writer->gen ? BEAM_CTL_FAILED : BEAM_CTL_REFUSED, BEAM_E_STALE,
			  "generation is not being filled any more");
	return BEAM_E_GONE;
}

static int from_coordinator(struct writer *writer, const void *packet, uint32_t type)
{
	struct generation *gen = writer->gen;
	const struct beam_ctl_text *text = packet;

	if (gen->coordinator != writer)
		return BEAM_E_PROTO;
	if (type == BEAM_CTL_COPIED) {
		generation_copied(writer, packet);
		return 0;
	}
	char why[BEAM_TEXT_BYTES];

	memcpy(why, text->text, sizeof(why));
	why[sizeof(why) - 1] = '\0';
	if (type == BEAM_CTL_UNSAVED) {
		generation_unsaved(gen, text->code, why);
		return 0;
	}
	gen->silent_writers = true;
	if (gen->state == GEN_FILLING) {
		generation_fail(gen, BEAM_E_ABORTED, why);
	} else if (gen->state == GEN_RETIRING) {
		generation_fence(gen);
	}
	return 0;
}

/* Returns 0, or a code if the peer broke the protocol or is refused: then its socket is to be
 * closed. */
static int dispatch(struct writer *writer, const void *packet, uint32_t type, int *fd)
{
	const struct beam_ctl_index *at = packet;
	struct generation *gen = writer->gen;

	if (!gen && type == BEAM_CTL_BEGIN) {
		const struct beam_ctl_begin *begin = packet;
		int file_fd = *fd;

		if (!secret_ok(writer, begin->secret))
			return BEAM_E_DENIED;
		*fd = -1;
		generation_begin(writer, begin, file_fd);
		return 0;
	}
	if (!gen)
		return type == BEAM_CTL_JOIN ? join(writer, packet) : BEAM_E_PROTO;
	switch (type) {
	case BEAM_CTL_NEED:
		(void)BEAM_FAULT("daemon.need");
		if (at->index >= gen->capacity || gen->segments[at->index].len_bytes)
			return BEAM_E_PROTO;
		writer->waiting = true;
		writer->need = at->index;
		grants_answer(writer);
		grants_pump(writer->d);
		return 0;
	case BEAM_CTL_SEALED:
		generation_sealed(gen, at->index);
		return 0;
	case BEAM_CTL_WAITING:
		generation_waiting(gen);
		return 0;
	case BEAM_CTL_COPIED:
	case BEAM_CTL_UNSAVED:
	case BEAM_CTL_ABORT:
		return from_coordinator(writer, packet, type);
	default:
		return BEAM_E_PROTO;
	}
}

static bool still_there(const struct daemon *d, const struct writer *writer)
{
	for (const struct writer *w = d->writers; w; w = w->next)
		if (w == writer)
			return w->fd >= 0;
	return false;
}

/* Processes all that the writer has sent; closes it at the end of file. */
static void drain(struct writer *writer)
{
	struct daemon *d = writer->d;
	union {
		struct beam_ctl_head head;
		uint8_t bytes[BEAM_CTL_MAX_BYTES];
	} packet;

	/* The pointer is only compared until the list is known to contain it.
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	while (still_there(d, writer)) {
		int fds[BEAM_PACKET_FDS_MAX], nfds = 0;
		ssize_t n = beam_packet_recv(writer->fd, &packet, sizeof(packet), fds, &nfds, 0);

		if (n == -EAGAIN)
			return;
		int fd = nfds ? fds[0] : -1;
		int err = n < 0 ? (int)n : beam_ctl_check(&packet, (uint32_t)n);

		for (int i = 1; i < nfds; i++)
			beam_close(&fds[i]);
		if (!err)
			err = dispatch(writer, &packet, packet.head.type, &fd);
		beam_close(&fd);
		if (err && err != BEAM_E_GONE)
			beam_log(BEAM_LOG_WARNING, "saving process %d: %s", (int)writer->pid,
				 beam_strerror(err));
		if (err && still_there(d, writer))
			writers_close(writer);
	}
}

static void writer_event(int fd, uint32_t events, void *arg)
{
	struct writer *writer = arg;

	if (events & EPOLLOUT) {
		/* An error will show again as the end of the peer. */
		outbox_flush(&writer->box, fd);
		if (!writer->box.count)
			beam_watch_modify(writer->watch, EPOLLIN);
	}
	if (events & ~(uint32_t)EPOLLOUT)
		drain(writer);
}

static void process_ended(int fd, uint32_t events, void *arg)
{
	struct writer *writer = arg;
	struct daemon *d = writer->d;

	(void)fd;
	(void)events;
	(void)BEAM_FAULT("daemon.writer-gone");
	drain(writer);
	for (struct writer *w = d->writers; w; w = w->next) {
		if (w != writer)
			continue;
		beam_watch_remove(&writer->pid_watch);
		beam_close(&writer->pidfd);
		/* Another process may hold a copy of the socket, but speaks for nobody. */
		if (writer->fd >= 0)
			writers_close(writer);
		else if (writer->gen->state == GEN_RETIRING)
			generation_fence(writer->gen);
		return;
	}
}

static int open_pidfd(int sock, pid_t pid)
{
	int fd = -1;
	socklen_t len = sizeof(fd);

	/* Exact, where the kernel supports it; a pid alone may have been reused. */
	if (!getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &fd, &len))
		return fd;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : fd;
}

static uint32_t strangers(const struct daemon *d)
{
	uint32_t count = 0;

	for (const struct writer *w = d->writers; w; w = w->next)
		count += !w->gen;
	return count;
}

static void tell_not_adopted(struct daemon *d, const struct writer *writer, uid_t uid, int err)
{
	char text[BEAM_TEXT_BYTES];
	bool ours = uid == geteuid() && err != BEAM_E_DENIED;

	snprintf(text, sizeof(text), "connection of process %d (uid %u): %s%s", (int)writer->pid,
		 (unsigned)uid, beam_strerror(err),
		 ours && writer->pidfd < 0 ? "; saving needs pidfd_open: Linux 5.3 or newer, and "
					     "no seccomp filter that refuses it"
					   : "");
	if (beam_log_may(&d->stranger_lines))
		beam_log(BEAM_LOG_WARNING, "%s", text);
	if (!ours)
		return;
	status_error(d, text);
	status_changed(d);
}

static void adopt(struct daemon *d, int fd)
{
	struct writer *writer = BEAM_FAULT("daemon.adopt") ? NULL : calloc(1, sizeof(*writer));
	uid_t uid = 0;

	if (!writer) {
		close(fd);
		return;
	}
	writer->d = d;
	writer->fd = fd;
	writer->pidfd = -1;
	outbox_init(&writer->box);
	writer->next = d->writers;
	d->writers = writer;
	int err = beam_packet_peer(fd, &writer->pid, &uid);

	if (!err && (uid != geteuid() || writer->pid <= 0 || strangers(d) > STRANGERS_MAX))
		err = BEAM_E_DENIED;
	if (!err) {
		writer->pidfd = open_pidfd(fd, writer->pid);
		err = writer->pidfd < 0 ? writer->pidfd : 0;
	}
	if (!err)
		err = beam_watch_add(d->loop, writer->pidfd, EPOLLIN, process_ended, writer,
				     &writer->pid_watch);
	if (!err)
		err = beam_watch_add(d->loop, fd, EPOLLIN, writer_event, writer, &writer->watch);
	if (err) {
		tell_not_adopted(d, writer, uid, err);
		free_writer(writer);
	}
}

static void accept_all(struct daemon *d)
{
	int conn;

	while ((conn = accept4(d->listen, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		adopt(d, conn);
}

static void accepted(int fd, uint32_t events, void *arg)
{
	struct daemon *d = arg;

	(void)fd;
	(void)events;
	/* A child begins only after its server has sent HELLO: process that first. */
	control_drain(d);
	accept_all(d);
}

static struct writer *stranger_not_heard(const struct daemon *d)
{
	for (struct writer *w = d->writers; w; w = w->next)
		if (!w->gen && w->heard != d->hearing)
			return w;
	return NULL;
}

void writers_hear_strangers(struct daemon *d)
{
	struct writer *w;

	accept_all(d);
	d->hearing++;
	/* Restart each time, because what one says may free others. */
	while ((w = stranger_not_heard(d))) {
		w->heard = d->hearing;
		drain(w);
	}
}

int writers_listen(struct daemon *d)
{
	int flags = fcntl(d->listen, F_GETFL);

	if (flags < 0 || fcntl(d->listen, F_SETFL, flags | O_NONBLOCK) ||
	    fcntl(d->listen, F_SETFD, FD_CLOEXEC))
		return -errno;
	return beam_watch_add(d->loop, d->listen, EPOLLIN, accepted, d, &d->listen_watch);
}
