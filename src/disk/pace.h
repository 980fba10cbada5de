/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tells when a flush can continue. Its owner polls a single fd: an epoll of an eventfd
 * (completions, and the flush's own nudges) and a timerfd. The rate limit decides when the next
 * operation may start, and sets the timer for it. One thread, except for the eventfd.
 */
#ifndef BEAM_DISK_PACE_H
#define BEAM_DISK_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_disk_pace {
	int event, timer, epoll;
	uint64_t rate; /* bytes per second; 0: no limit */
	int64_t burst; /* size of the bucket */
	int64_t tokens;
	uint64_t filled_ns;
};

/* Largest operation under this limit in bytes, so that a slow flush does not write in bursts;
 * UINT64_MAX without a limit. */
uint64_t beam_disk_pace_piece(uint64_t rate_limit);

/* Opens the fds and fills the bucket; `burst` bytes may be written at once. 0 or -errno. */
int beam_disk_pace_open(struct beam_disk_pace *pace, uint64_t rate_limit, uint32_t burst);
void beam_disk_pace_close(struct beam_disk_pace *pace);

/* Makes the fd readable: at once, or in `ns` nanoseconds (which replaces an earlier time). */
void beam_disk_pace_nudge(struct beam_disk_pace *pace);
void beam_disk_pace_wake_in(struct beam_disk_pace *pace, uint64_t ns);
/* Makes the fd not readable. Call it before looking for completions, so that none is missed. */
void beam_disk_pace_clear(struct beam_disk_pace *pace);

/* True if an operation may start now; otherwise the timer is set to when it may. An operation may
 * overdraw the bucket. */
bool beam_disk_pace_may_start(struct beam_disk_pace *pace);
/* Takes len_bytes out of the bucket: an operation was started. */
void beam_disk_pace_spend(struct beam_disk_pace *pace, size_t len_bytes);

#endif
