/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The daemon's event loop: level-triggered epoll with one-shot timers. One thread. A callback may
 * remove any fd or timer, its own included; no callback runs for a watch after its removal.
 */
#ifndef BEAM_LOOP_H
#define BEAM_LOOP_H

#include <stdint.h>

struct beam_loop;
struct beam_watch; /* one fd in the loop */
struct beam_timer; /* one one-shot timer */

typedef void beam_watch_fn(int fd, uint32_t epoll_events, void *arg);
typedef void beam_timer_fn(void *arg);

/* 0 or -errno. */
int beam_loop_open(struct beam_loop **out);
/* Frees the loop and what is still in it (fds stay open). NULL-safe, clears the pointer. */
void beam_loop_close(struct beam_loop **loop);

/* Watches `fd` for `epoll_events` (EPOLLIN...). The fd stays the caller's. 0 or -errno. */
int beam_watch_add(struct beam_loop *loop, int fd, uint32_t epoll_events, beam_watch_fn *fn,
		   void *arg, struct beam_watch **out);
int beam_watch_modify(struct beam_watch *watch, uint32_t epoll_events);
/* Before the fd is closed. NULL-safe, clears the pointer. */
void beam_watch_remove(struct beam_watch **watch);

/* Calls fn once, `after_ms` from now; *out is cleared by firing or beam_timer_cancel, and must live
 * as long as the timer does. Setting a timer that is set moves it. 0 or -ENOMEM. */
int beam_timer_set(struct beam_loop *loop, uint64_t after_ms, beam_timer_fn *fn, void *arg,
		   struct beam_timer **out);
void beam_timer_cancel(struct beam_timer **timer);

/* Runs until beam_loop_stop. 0 or -errno. */
int beam_loop_run(struct beam_loop *loop);
/* From a callback. */
void beam_loop_stop(struct beam_loop *loop);

#endif
