/* SPDX-License-Identifier: BSD-3-Clause
 *
 * When a flush goes on: the one fd that its owner polls, an epoll of an eventfd (completions, and
 * the flush's own nudges) and a timerfd, and the rate limit, which says when the next operation may
 * start and sets the timer for it. One thread, but for the eventfd.
 */
#ifndef BEAM_DISK_PACE_H
#define BEAM_DISK_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_disk_pace {
	int event, timer, epoll;
	uint64_t rate; /* bytes per second; 0: no limit */
	int64_t burst; /* the bucket's size */
	int64_t tokens;
	uint64_t filled_ns;
};

/* The most bytes that one operation should have under this limit, so that a slow one is no train of
 * bursts; UINT64_MAX without a limit. */
uint64_t beam_disk_pace_piece(uint64_t rate_limit);

/* 0 or -errno. `burst` bytes may go at once. */
int beam_disk_pace_open(struct beam_disk_pace *pace, uint64_t rate_limit, uint32_t burst);
void beam_disk_pace_close(struct beam_disk_pace *pace);

/* Makes the fd readable: now, or in `ns` (which replaces an earlier time). */
void beam_disk_pace_nudge(struct beam_disk_pace *pace);
void beam_disk_pace_wake_in(struct beam_disk_pace *pace, uint64_t ns);
/* Makes it not readable; before the completions are looked at, so that none is missed. */
void beam_disk_pace_clear(struct beam_disk_pace *pace);

/* True if an operation may start now; else the timer is set for when it may. An operation may
 * overdraw the bucket. */
bool beam_disk_pace_may_start(struct beam_disk_pace *pace);
void beam_disk_pace_spend(struct beam_disk_pace *pace, size_t len_bytes);

#endif
