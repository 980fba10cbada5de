/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Raw words on a replication link, where hiredis' reader would swallow bytes of the stream. */
#ifndef BEAM_LINK_LINE_H
#define BEAM_LINK_LINE_H

#include <stddef.h>

/* Sends all. 0, -ETIMEDOUT, BEAM_E_GONE, or -errno. */
int beam_link_send(int sock, const char *text, size_t len_bytes, int timeout_ms);

/* Reads one line, without its end, and not a byte more. Empty lines are the primary's sign of life
 * and skipped. 0, -ETIMEDOUT, BEAM_E_GONE, BEAM_E_PROTO (longer than `cap`), or -errno. */
int beam_link_read_line(int sock, char *line, size_t cap, int timeout_ms);

#endif
