/* SPDX-License-Identifier: BSD-3-Clause
 * A token bucket, and the fds that wake the flush. */
#include "pace.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "sockets.h"

#define RATE_MAX     (1ull << 40) /* bytes per second; above it there is no limit */
#define PIECE_MIN    (64u << 10)
#define PIECES_PER_S 16u
#define NS_PER_S     1000000000ull

uint64_t beam_disk_pace_piece(uint64_t rate_limit)
{
	if (rate_limit == 0)
		return UINT64_MAX;
	return rate_limit / PIECES_PER_S > PIECE_MIN ? rate_limit / PIECES_PER_S : PIECE_MIN;
}

void beam_disk_pace_nudge(struct beam_disk_pace *pace)
{
	uint64_t one = 1;

	if (write(pace->event, &one, sizeof(one)) < 0 && errno != EAGAIN)
		beam_log(BEAM_LOG_WARNING, "flush: eventfd: %s", strerror(errno));
}

void beam_disk_pace_wake_in(struct beam_disk_pace *pace, uint64_t ns)
{
	struct itimerspec at = {
	    .it_value = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)}};

	if (timerfd_settime(pace->timer, 0, &at, NULL))
		beam_log(BEAM_LOG_WARNING, "flush: timerfd: %s", strerror(errno));
}

void beam_disk_pace_clear(struct beam_disk_pace *pace)
{
	uint64_t count;

	if ((read(pace->event, &count, sizeof(count)) < 0 && errno != EAGAIN) ||
	    (read(pace->timer, &count, sizeof(count)) < 0 && errno != EAGAIN))
		beam_log(BEAM_LOG_WARNING, "flush: read of event: %s", strerror(errno));
}

static int watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

void beam_disk_pace_close(struct beam_disk_pace *pace)
{
	beam_close(&pace->epoll);
	beam_close(&pace->timer);
	beam_close(&pace->event);
}

int beam_disk_pace_open(struct beam_disk_pace *pace, uint64_t rate_limit, uint32_t burst)
{
	int err;

	pace->rate = rate_limit < RATE_MAX ? rate_limit : 0;
	pace->burst = pace->tokens = burst;
	pace->filled_ns = beam_now_ns();

	pace->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pace->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	pace->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (pace->event < 0 || pace->timer < 0 || pace->epoll < 0)
		err = -errno;
	else
		err = watch(pace->epoll, pace->event);
	err = err ? err : watch(pace->epoll, pace->timer);
	if (err)
		beam_disk_pace_close(pace);
	return err;
}

static void fill_bucket(struct beam_disk_pace *pace)
{
	uint64_t now = beam_now_ns();
	unsigned __int128 grown =
	    (unsigned __int128)pace->rate * (now - pace->filled_ns) / NS_PER_S;

	if (grown == 0)
		return; /* the time is counted in the next call */
	pace->filled_ns = now;
	if (grown > (unsigned __int128)(pace->burst - pace->tokens))
		pace->tokens = pace->burst;
	else
		pace->tokens += (int64_t)grown;
}

bool beam_disk_pace_may_start(struct beam_disk_pace *pace)
{
	if (!pace->rate)
		return true;
	fill_bucket(pace);
	if (pace->tokens > 0)
		return true;
	beam_disk_pace_wake_in(pace, (uint64_t)(1 - pace->tokens) * NS_PER_S / pace->rate + 1);
	return false;
}

void beam_disk_pace_spend(struct beam_disk_pace *pace, size_t len_bytes)
{
	if (pace->rate)
		pace->tokens -= (int64_t)len_bytes;
}
