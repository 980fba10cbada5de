/* SPDX-License-Identifier: BSD-3-Clause
 * Time. Durations and deadlines use the monotonic clock, so a stepped wall clock changes nothing.
 * Wall time is for what people and RDB files read. Any thread. */
#ifndef BEAM_CLOCK_H
#define BEAM_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

uint64_t beam_now_ns(void);  /* CLOCK_MONOTONIC */
uint64_t beam_now_ms(void);  /* CLOCK_MONOTONIC */
uint64_t beam_wall_ms(void); /* CLOCK_REALTIME */
uint64_t beam_cpu_ns(void);  /* processor time that the calling thread has used */

/* A condition variable that uses the monotonic clock, and the deadline for its timed wait,
 * timeout_ms from now. */
void beam_cond_init(pthread_cond_t *cond);
void beam_deadline_in(struct timespec *at, int timeout_ms);

#endif
