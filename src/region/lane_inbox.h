/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A lane's state and what it hears from the daemon: the lane's own, for lane.c only. The inbox
 * learns extents and remembers the failure that ends the lane.
 */
#ifndef BEAM_LANE_INBOX_H
#define BEAM_LANE_INBOX_H

#include <sys/types.h>

#include "lane.h"
#include "region.h"

#define DAEMON_NAME_BYTES 108 /* sun_path */
#define BEAM_LANE_SILENCE_MS                                                                       \
	30000 /* the daemon answers a waiting writer within this, or is stopped */

struct beam_lane_extent {
	int fd; /* -1: not seen */
	uint8_t *base;
	uint64_t bytes;
	ino_t ino;
};

struct beam_lane {
	int sock;
	int failure; /* what the daemon or the socket said, for good; 0: nothing */
	char failure_text[BEAM_TEXT_BYTES]; /* the daemon's words, or "" */
	int table_fd;
	uint64_t table_bytes;
	struct beam_table *table;
	uint32_t nextents; /* numbers below it may be known */
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

/* Logs that the daemon sent `what`. BEAM_E_PROTO. */
int beam_lane_break(const char *what);

/* Receives one message into `m`, at most one fd with it (the caller's; -1: none). 0, -EAGAIN or
 * -ETIMEDOUT when there was none in time, or a negative code. */
int beam_lane_receive(struct beam_lane *lane, union beam_lane_message *m, int *fd, int timeout_ms);

/* The code of REFUSED or FAILED, always negative; its text is terminated. */
int beam_lane_code(struct beam_ctl_text *text);

/* Handles one message of a running generation. 0, -EAGAIN when there was none (timeout_ms 0), or
 * the lane's failure. */
int beam_lane_handle(struct beam_lane *lane, int timeout_ms);

/* Handles all that has arrived. 0 or the lane's failure. */
int beam_lane_drain(struct beam_lane *lane);

/* Unmaps and closes. */
void beam_lane_forget(struct beam_lane_extent *extent);

#endif
