/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connects by TCP within a time limit, and detects that the other host is gone. Any thread.
 */
#ifndef BEAM_TCP_CONNECT_H
#define BEAM_TCP_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include "reader.h"

/* Tries each address of `host` until one answers or timeout_ms is over: first `first` (an address
 * as text; NULL: none), then the IPv4 addresses, as Redis' own clients do, then the others. An
 * address that does not answer leaves the others their share of the time. Returns a non-blocking
 * socket; -ENXIO when there is no such host; -EAGAIN when no name server answers; else the error of
 * the address tried first. */
int tcp_connect_host(const char *host, const char *first, uint32_t port, int timeout_ms);

/* The same, as told by `opts`. Returns a socket, or a negative code with error_text. */
int tcp_connect(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES]);

/* True for codes which mean that nothing came back: the host is gone, or something on the way drops
 * its packets. */
bool tcp_is_silence(int code);

/* Probes the peer's kernel while the connection is idle, and ends the connection after about
 * gone_ms without an answer. This also keeps idle connections alive in firewalls. Best effort; no
 * effect on other kinds of sockets. */
void tcp_keep_alive(int sock, int gone_ms);
/* Does the same, also for sent bytes that the peer's kernel does not acknowledge. Not for peers
 * that may be busy enough to leave their receive buffers full for gone_ms. */
void tcp_watch_host(int sock, int gone_ms);

#endif
