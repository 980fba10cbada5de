/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connecting by TCP within a time. Any thread.
 */
#ifndef BEAM_TCP_CONNECT_H
#define BEAM_TCP_CONNECT_H

#include <stdint.h>

#include "reader.h"

/* Tries each address of `host` until one answers or timeout_ms is over. Returns a non-blocking
 * socket; -ENXIO when there is no such host, else the last address' error. */
int tcp_connect_host(const char *host, uint32_t port, int timeout_ms);

/* The same by `opts`. Returns a socket, or a negative code with error_text. */
int tcp_connect(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES]);

#endif
