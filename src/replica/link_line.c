/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sends and reads lines on a socket, with time limits.
 */
#include "link_line.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>

#include "clock.h"
#include "rdbeam/error.h"

int beam_link_send(int sock, const char *text, size_t len, int timeout_ms)
{
	while (len) {
		struct pollfd pfd = {.fd = sock, .events = POLLOUT};
		ssize_t n = send(sock, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			if (poll(&pfd, 1, timeout_ms) == 0)
				return -ETIMEDOUT;
		} else if (n < 0 && errno != EINTR) {
			return errno == EPIPE || errno == ECONNRESET ? BEAM_E_GONE : -errno;
		}
	}
	return 0;
}

/* Reads byte by byte, because the bytes after the line belong to the stream. */
int beam_link_read_line(int sock, char *line, size_t cap, int timeout_ms)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)timeout_ms;
	size_t len = 0;

	for (;;) {
		uint64_t now = beam_now_ms();
		struct pollfd pfd = {.fd = sock, .events = POLLIN};
		int n = now >= deadline ? 0 : poll(&pfd, 1, (int)(deadline - now));
		char c;

		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		ssize_t got = recv(sock, &c, 1, MSG_DONTWAIT);

		if (got == 0)
			return BEAM_E_GONE;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return errno == ECONNRESET ? BEAM_E_GONE : -errno;
		if (got < 0 || c == '\r' || (c == '\n' && !len))
			continue;
		if (c == '\n') {
			line[len] = '\0';
			return 0;
		}
		if (len + 1 == cap)
			return BEAM_E_PROTO;
		line[len++] = c;
	}
}
