/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connecting by TCP within a time, and noticing that the other host is gone. Any thread.
 */
#ifndef BEAM_TCP_CONNECT_H
#define BEAM_TCP_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include "reader.h"

/* Tries each address of `host` until one answers or timeout_ms is over: `first` (an address as text, NULL: none),
 * then those of IPv4, as Redis's own clients do, then the others. One that says nothing leaves the others their
 * share of the time. Returns a non-blocking socket; -ENXIO when there is no such host, -EAGAIN when no name server says so, else the error of the one
 * that was tried first. */
int tcp_connect_host(const char *host, const char *first, uint32_t port, int timeout_ms);

/* The same by `opts`. Returns a socket, or a negative code with error_text. */
int tcp_connect(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES]);

/* By a negative code: nothing came back, the host is gone or something between keeps what it says. */
bool tcp_is_silence(int code);

/* The peer's kernel is asked for a sign of life while nothing else is said: without one for gone_ms the connection
 * ends. Also keeps what is idle known to the firewalls between. Best effort, nothing for sockets of other kinds. */
void tcp_keep_alive(int sock, int gone_ms);
/* That, and the same for bytes on their way that the peer's kernel does not take. Not where a peer may be so busy
 * that it leaves its buffers full for so long. */
void tcp_watch_host(int sock, int gone_ms);

#endif
