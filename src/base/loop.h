/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The daemon's event loop: level-triggered epoll with one-shot timers. One thread. A callback may
 * remove any watch or timer, including its own; no callback runs for a watch after its removal.
 */
#ifndef BEAM_LOOP_H
#define BEAM_LOOP_H

#include <stdint.h>

struct beam_loop;
struct beam_watch; /* an fd in the loop */
struct beam_timer; /* a one-shot timer */

typedef void beam_watch_fn(int fd, uint32_t epoll_events, void *arg);
typedef void beam_timer_fn(void *arg);

/* Creates a loop. 0 or -errno. */
int beam_loop_open(struct beam_loop **out);
/* Frees the loop and what is still in it; fds stay open. Accepts NULL, clears the pointer. */
void beam_loop_close(struct beam_loop **loop);

/* Watches `fd` for `epoll_events` (EPOLLIN...). The fd still belongs to the caller. 0 or -errno. */
int beam_watch_add(struct beam_loop *loop, int fd, uint32_t epoll_events, beam_watch_fn *fn,
		   void *arg, struct beam_watch **out);
/* Changes the events that are watched for. 0 or -errno. */
int beam_watch_modify(struct beam_watch *watch, uint32_t epoll_events);
/* Removes a watch. Call it before closing the fd. Accepts NULL, clears the pointer. */
void beam_watch_remove(struct beam_watch **watch);

/* Calls fn once, `after_ms` from now. *out must stay valid as long as the timer exists; it is
 * cleared when the timer fires or is cancelled. Setting a timer that is already set moves it. 0 or
 * -ENOMEM. */
int beam_timer_set(struct beam_loop *loop, uint64_t after_ms, beam_timer_fn *fn, void *arg,
		   struct beam_timer **out);
/* Accepts NULL, clears the pointer. */
void beam_timer_cancel(struct beam_timer **timer);

/* Runs until beam_loop_stop is called. 0 or -errno. */
int beam_loop_run(struct beam_loop *loop);
/* Call it from a callback. */
void beam_loop_stop(struct beam_loop *loop);

#endif
