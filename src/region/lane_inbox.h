/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A lane's state, and how it handles messages from the daemon; private to lane.c. The inbox learns
 * extents, and remembers the failure that ends the lane.
 */
#ifndef BEAM_LANE_INBOX_H
#define BEAM_LANE_INBOX_H

#include <sys/types.h>

#include "lane.h"
#include "region.h"

#define DAEMON_NAME_BYTES    108   /* sun_path */
#define BEAM_LANE_SILENCE_MS 30000 /* longest silence of the daemon while a writer waits */

struct beam_lane_extent {
	int fd; /* -1: not seen */
	uint8_t *base;
	uint64_t bytes;
	ino_t ino;
};

struct beam_lane {
	int sock;
	int failure;                        /* permanent, from the daemon or the socket; 0: none */
	char failure_text[BEAM_TEXT_BYTES]; /* the daemon's words, or "" */
	int table_fd;
	uint64_t table_bytes;
	struct beam_table *table;
	uint32_t nextents; /* extents below this number may be known */
	struct beam_lane_extent extents[BEAM_EXTENTS_MAX];
	uint8_t secret[BEAM_SECRET_BYTES];
	uint8_t daemon_name[DAEMON_NAME_BYTES];
	size_t daemon_name_len;
	struct beam_segment_source source;
};

union beam_lane_message {
	struct beam_ctl_head head;
	struct beam_ctl_generation generation;
	struct beam_ctl_extent extent;
	struct beam_ctl_text text;
	uint8_t bytes[BEAM_CTL_MAX_BYTES];
};

/* Logs that the daemon sent `what`. Returns BEAM_E_PROTO. */
int beam_lane_break(const char *what);

/* Receives one message into `m`, with at most one fd, which the caller must close (-1: none). 0;
 * -EAGAIN or -ETIMEDOUT if none came in time; or a negative code. */
int beam_lane_receive(struct beam_lane *lane, union beam_lane_message *m, int *fd, int timeout_ms);

/* Returns the code of REFUSED or FAILED, which is always negative, and terminates the text. */
int beam_lane_code(struct beam_ctl_text *text);

/* Handles one message of a running generation. 0, -EAGAIN if there is none (timeout_ms 0), or the
 * lane's failure. */
int beam_lane_handle(struct beam_lane *lane, int timeout_ms);

/* Handles all messages that have arrived. 0 or the lane's failure. */
int beam_lane_drain(struct beam_lane *lane);

/* Unmaps an extent and closes its fd. */
void beam_lane_forget(struct beam_lane_extent *extent);

#endif
