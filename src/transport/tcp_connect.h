/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The TCP reader's way to its server. Any thread.
 */
#ifndef BEAM_TCP_CONNECT_H
#define BEAM_TCP_CONNECT_H

#include <stdint.h>

#include "reader.h"

/* Waits for poll(2)'s `events` on fd; timeout_ms < 0: for ever. 0, -ETIMEDOUT or -errno. */
int tcp_wait_for(int fd, short events, int64_t timeout_ms);

/* Tries each address of opts->host until one answers or opts->connect_timeout_ms is over. Returns a
 * non-blocking socket, or a negative code with error_text. */
int tcp_connect(const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES]);

#endif
