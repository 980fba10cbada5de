/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sends and receives with poll, so that the stop descriptor ends every wait, and plays the
 * primary's part of a replication handshake.
 */
#include "feed_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"

/* A target may take nothing for a while, as when it loads one big key or frees its old data; after
 * this long it is stuck. */
#define STALL_MS 300000

bool beam_feed_link_stopped(struct beam_feed_link *link)
{
	struct pollfd pfd = {.fd = link->stop, .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

int beam_feed_link_wait(struct beam_feed_link *link, int fd, short events, int timeout_ms)
{
	struct pollfd pfds[2] = {{.fd = fd, .events = events},
				 {.fd = link->stop, .events = POLLIN}};
	int n;

	do {
		n = poll(pfds, 2, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (pfds[1].revents)
		return BEAM_E_ABORTED;
	return pfds[0].revents ? 1 : 0;
}

int beam_feed_link_send(struct beam_feed_link *link, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len) {
		ssize_t n = send(link->sock, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return BEAM_E_GONE;
		int rc = beam_feed_link_wait(link, link->sock, POLLOUT, STALL_MS);

		if (rc == 0)
			return -ETIMEDOUT;
		if (rc < 0)
			return rc;
	}
	return 0;
}

int beam_feed_link_text(struct beam_feed_link *link, const char *text)
{
	return beam_feed_link_send(link, text, strlen(text));
}

int beam_feed_link_receive(struct beam_feed_link *link)
{
	ssize_t n = recv(link->sock, link->in + link->in_bytes, sizeof(link->in) - link->in_bytes,
			 MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return BEAM_E_GONE;
	link->in_bytes += (size_t)n;
	return 0;
}

int beam_feed_link_next(struct beam_feed_link *link, struct beam_resp_command *command)
{
	while (link->in_bytes && (link->in[0] == '\n' || link->in[0] == '\r'))
		memmove(link->in, link->in + 1, --link->in_bytes);
	int used = beam_resp_parse(link->in, link->in_bytes, command);

	if (used == 0 && link->in_bytes == sizeof(link->in))
		return BEAM_E_PROTO;
	return used;
}

void beam_feed_link_consume(struct beam_feed_link *link, int used)
{
	link->in_bytes -= (size_t)used;
	memmove(link->in, link->in + used, link->in_bytes);
}

/* Answers one command of the handshake. Returns 1 after PSYNC, 0 to go on, or an error. */
static int answer(struct beam_feed_link *link, const struct beam_resp_command *command,
		  const char *answer_line)
{
	if (beam_resp_is(command, 0, "PING"))
		return beam_feed_link_text(link, "+PONG\r\n");
	if (beam_resp_is(command, 0, "AUTH")) {
		link->authenticated = true;
		return beam_feed_link_text(link, "+OK\r\n");
	}
	if (beam_resp_is(command, 0, "REPLCONF"))
		return beam_resp_is(command, 1, "ACK") ? 0 : beam_feed_link_text(link, "+OK\r\n");
	if (beam_resp_is(command, 0, "PSYNC")) {
		if (link->must_auth && !link->authenticated)
			return BEAM_E_DENIED;
		(void)BEAM_FAULT("feed-psync");
		int rc = beam_feed_link_text(link, answer_line);

		return rc ? rc : 1;
	}
	return beam_feed_link_text(link, "-ERR unknown command, this is rdbeam pull\r\n");
}

int beam_feed_link_handshake(struct beam_feed_link *link, const char *answer_line,
			     uint64_t deadline_ms)
{
	struct beam_resp_command command;

	link->in_bytes = 0;
	link->authenticated = false;
	for (;;) {
		int used = beam_feed_link_next(link, &command);

		if (used < 0)
			return used;
		if (used > 0) {
			int rc = answer(link, &command, answer_line);

			beam_feed_link_consume(link, used);
			if (rc)
				return rc == 1 ? 0 : rc;
			continue;
		}
		uint64_t now = beam_now_ms();
		int rc = now < deadline_ms ? beam_feed_link_wait(link, link->sock, POLLIN,
								 (int)(deadline_ms - now))
					   : 0;

		if (rc <= 0)
			return rc ? rc : -ETIMEDOUT;
		rc = beam_feed_link_receive(link);
		if (rc)
			return rc;
	}
}
