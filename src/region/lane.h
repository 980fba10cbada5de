/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A lane: one writing process's (the child's, a worker's) way into a generation's slots. It claims
 * segment indices, maps extents on demand from the fds that the daemon sends, seals, and announces.
 * Not thread-safe: one process, one lane.
 */
#ifndef BEAM_LANE_H
#define BEAM_LANE_H

#include <stddef.h>
#include <stdint.h>

#include "ctl.h"
#include "segment_source.h"
#include "table.h"

struct beam_lane;

struct beam_lane_begin {
	const uint8_t *daemon_name; /* address of beam_packet_listen */
	size_t daemon_name_len;
	const struct beam_ctl_begin *begin; /* head is filled in */
	int file_fd;                        /* passed to the daemon, stays the caller's; -1: none */
	int timeout_ms;                     /* for the daemon's answer */
};

/* The coordinator's lane: asks the daemon for a generation. On refusal `reason` (room for
 * BEAM_TEXT_BYTES) says why. 0; BEAM_E_GONE, -ECONNREFUSED (no daemon), -ETIMEDOUT, or the daemon's
 * code. */
int beam_lane_begin(const struct beam_lane_begin *opts, char *reason, struct beam_lane **out);

/* In a process forked after beam_lane_begin: a lane of its own in the same generation, on a
 * connection of its own; the inherited lane's socket is closed in this process and `parent` is
 * consumed. */
int beam_lane_join(struct beam_lane **parent, uint32_t worker, struct beam_lane **out);

/* The segments a writer fills; valid as long as the lane. Calls return BEAM_E_ABORTED when the
 * generation was aborted, BEAM_E_GONE when the daemon died, BEAM_E_FULL when the region is at its
 * limit (the FAILED message's code). */
const struct beam_segment_source *beam_lane_source(struct beam_lane *lane);

struct beam_table *beam_lane_table(struct beam_lane *lane);

/* Tells the daemon that all is sealed (`total` and the last seal are in the table). 0 or an error.
 */
int beam_lane_copied(struct beam_lane *lane, const struct beam_ctl_copied *copied);

/* What the daemon has said of the image's failure, "" if nothing. Valid as long as the lane. */
const char *beam_lane_failure(struct beam_lane *lane);

/* Gives up: nobody writes any more (the caller has reaped the workers). Best effort. */
void beam_lane_abort(struct beam_lane *lane, int code, const char *why);

/* Prepares to become the waiter: receives the extents still under way, so that every extent of the
 * image can be inherited. fds[0..*nfds): table first, then extents by number (-1: never seen); the
 * socket is *sock. They stay the lane's and CLOEXEC; the caller clears that flag before exec. */
int beam_lane_inherit(struct beam_lane *lane, int *sock, int *fds, int cap, int *nfds);

/* Unmaps and closes. Says nothing to the daemon. NULL-safe, clears the pointer. */
void beam_lane_close(struct beam_lane **lane);

#endif
