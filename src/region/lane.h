/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A lane gives a writing process (the child or a worker) access to the slots of a generation. It
 * claims segment indices, maps extents on demand from the fds that the daemon sends, seals segments
 * and announces them. Not thread-safe: one process, one lane.
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
	const struct beam_ctl_begin *begin; /* head is filled in by the lane */
	int file_fd;                        /* passed to the daemon; stays open here; -1: none */
	int timeout_ms;                     /* for the daemon's answer */
};

/* Opens the coordinator's lane: asks the daemon for a generation. On failure `reason` (room for
 * BEAM_TEXT_BYTES) says why; it is "" for -EINVAL (bad name) and -ENOMEM. 0; BEAM_E_GONE,
 * -ECONNREFUSED (no daemon), -ETIMEDOUT, the daemon's code, or another negative code. */
int beam_lane_begin(const struct beam_lane_begin *opts, char *reason, struct beam_lane **out);

/* In a process forked after beam_lane_begin: opens a lane of its own in the same generation, with
 * its own connection. The inherited lane's socket is closed in this process, and `parent` is
 * consumed, also on failure. 0 or a negative code. */
int beam_lane_join(struct beam_lane **parent, uint32_t worker, struct beam_lane **out);

/* The segments for a writer to fill; valid as long as the lane. Its calls return BEAM_E_ABORTED if
 * the generation was aborted, BEAM_E_GONE if the daemon died, and BEAM_E_FULL if the region is at
 * its limit (the code of the FAILED message). */
const struct beam_segment_source *beam_lane_source(struct beam_lane *lane);

/* The generation's table; valid as long as the lane. */
struct beam_table *beam_lane_table(struct beam_lane *lane);

/* Tells the daemon that all segments are sealed (`total` and the last seal are in the table). 0 or
 * a negative code. */
int beam_lane_copied(struct beam_lane *lane, const struct beam_ctl_copied *copied);

/* Why the image failed according to the daemon; "" if it has not said so. Valid as long as the
 * lane. */
const char *beam_lane_failure(struct beam_lane *lane);

/* Gives the image up: nobody writes any more (the caller has reaped the workers). Best effort. */
void beam_lane_abort(struct beam_lane *lane, int code, const char *why);

/* Prepares to become the waiter: receives the extents that are still under way, so that every
 * extent of the image can be inherited. Stores up to `cap` fds in fds[0..*nfds): first the table,
 * then the extents by number (-1: never seen), and the socket in *sock. They still belong to the
 * lane and are CLOEXEC; the caller clears that flag before exec. 0, -E2BIG for more fds than `cap`,
 * or the lane's failure. */
int beam_lane_inherit(struct beam_lane *lane, int *sock, int *fds, int cap, int *nfds);

/* Unmaps and closes everything, without telling the daemon. Accepts NULL, clears the pointer. */
void beam_lane_close(struct beam_lane **lane);

#endif
