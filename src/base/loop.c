/* SPDX-License-Identifier: BSD-3-Clause
 * Watches are kept in a list and freed between rounds, so that a callback may remove any of them
 * while the current batch of epoll events still points to it. Timers are a sorted list, since a
 * daemon has only a handful. */
#include "loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"

#define BATCH 64

struct beam_watch {
	struct beam_watch *next;
	struct beam_loop *loop;
	int fd;
	bool removed;
	beam_watch_fn *fn;
	void *arg;
};

struct beam_timer {
	struct beam_timer *next;
	struct beam_loop *loop;
	struct beam_timer **owner;
	uint64_t at_ms;
	beam_timer_fn *fn;
	void *arg;
};

struct beam_loop {
	int epoll;
	bool stopped;
	struct beam_watch *watches;
	struct beam_timer *timers; /* soonest first */
};

int beam_loop_open(struct beam_loop **out)
{
	struct beam_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0) {
		int err = -errno;

		free(loop);
		return err;
	}
	*out = loop;
	return 0;
}

void beam_loop_close(struct beam_loop **loop)
{
	struct beam_loop *l = *loop;

	if (!l)
		return;
	while (l->watches) {
		struct beam_watch *next = l->watches->next;

		free(l->watches);
		l->watches = next;
	}
	while (l->timers) {
		struct beam_timer *timer = l->timers;

		beam_timer_cancel(timer->owner);
	}
	close(l->epoll);
	free(l);
	*loop = NULL;
}

int beam_watch_add(struct beam_loop *loop, int fd, uint32_t epoll_events, beam_watch_fn *fn,
		   void *arg, struct beam_watch **out)
{
	struct beam_watch *watch = calloc(1, sizeof(*watch));
	struct epoll_event event = {.events = epoll_events, .data.ptr = watch};

	if (!watch)
		return -ENOMEM;
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event)) {
		int err = -errno;

		free(watch);
		return err;
	}
	watch->loop = loop;
	watch->fd = fd;
	watch->fn = fn;
	watch->arg = arg;
	watch->next = loop->watches;
	loop->watches = watch;
	*out = watch;
	return 0;
}

int beam_watch_modify(struct beam_watch *watch, uint32_t epoll_events)
{
	struct epoll_event event = {.events = epoll_events, .data.ptr = watch};

	return epoll_ctl(watch->loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) ? -errno : 0;
}

void beam_watch_remove(struct beam_watch **watch)
{
	if (!*watch)
		return;
	epoll_ctl((*watch)->loop->epoll, EPOLL_CTL_DEL, (*watch)->fd, NULL);
	(*watch)->removed = true;
	*watch = NULL;
}

static void free_removed(struct beam_loop *loop)
{
	struct beam_watch **at = &loop->watches;

	while (*at) {
		struct beam_watch *watch = *at;

		if (watch->removed) {
			*at = watch->next;
			free(watch);
		} else {
			at = &watch->next;
		}
	}
}

int beam_timer_set(struct beam_loop *loop, uint64_t after_ms, beam_timer_fn *fn, void *arg,
		   struct beam_timer **out)
{
	beam_timer_cancel(out);
	struct beam_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return -ENOMEM;
	timer->loop = loop;
	timer->owner = out;
	timer->at_ms = beam_now_ms() + after_ms;
	timer->fn = fn;
	timer->arg = arg;
	struct beam_timer **at = &loop->timers;

	while (*at && (*at)->at_ms <= timer->at_ms)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
	*out = timer;
	return 0;
}

void beam_timer_cancel(struct beam_timer **timer)
{
	if (!*timer)
		return;
	for (struct beam_timer **at = &(*timer)->loop->timers; *at; at = &(*at)->next) {
		if (*at == *timer) {
			*at = (*timer)->next;
			break;
		}
	}
	free(*timer);
	*timer = NULL;
}

static void run_due_timers(struct beam_loop *loop)
{
	uint64_t now = beam_now_ms();

	while (!loop->stopped && loop->timers && loop->timers->at_ms <= now) {
		struct beam_timer *timer = loop->timers;
		beam_timer_fn *fn = timer->fn;
		void *arg = timer->arg;

		beam_timer_cancel(timer->owner);
		fn(arg);
	}
}

static int wait_ms(const struct beam_loop *loop)
{
	uint64_t now = beam_now_ms();

	if (!loop->timers)
		return -1;
	if (loop->timers->at_ms <= now)
		return 0;
	uint64_t left = loop->timers->at_ms - now;

	return left > 60000 ? 60000 : (int)left;
}

int beam_loop_run(struct beam_loop *loop)
{
	struct epoll_event events[BATCH];

	loop->stopped = false;
	while (!loop->stopped) {
		int n = epoll_wait(loop->epoll, events, BATCH, wait_ms(loop));

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n && !loop->stopped; i++) {
			struct beam_watch *watch = events[i].data.ptr;

			if (!watch->removed)
				watch->fn(watch->fd, events[i].events, watch->arg);
		}
		run_due_timers(loop);
		free_removed(loop);
	}
	return 0;
}

void beam_loop_stop(struct beam_loop *loop)
{
	loop->stopped = true;
}
