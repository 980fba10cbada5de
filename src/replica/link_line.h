/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plain lines on a replication link, where hiredis' reader would also swallow bytes of the stream.
 */
#ifndef BEAM_LINK_LINE_H
#define BEAM_LINK_LINE_H

#include <stddef.h>

/* Sends all bytes. timeout_ms bounds each wait for the peer. Returns 0, -ETIMEDOUT, BEAM_E_GONE, or
 * -errno. */
int beam_link_send(int sock, const char *text, size_t len_bytes, int timeout_ms);

/* Reads one line, without its line end, and not a byte more. Empty lines are the primary's
 * keep-alives and are skipped. timeout_ms is for the whole line. Returns 0, -ETIMEDOUT,
 * BEAM_E_GONE, BEAM_E_PROTO (line longer than `cap`), or -errno. */
int beam_link_read_line(int sock, char *line, size_t cap, int timeout_ms);

#endif
