/* SPDX-License-Identifier: BSD-3-Clause
 * Time. Durations and deadlines are monotonic (a stepped wall clock changes nothing); wall time is
 * for what people and RDB files read. Any thread. */
#ifndef BEAM_CLOCK_H
#define BEAM_CLOCK_H

#include <stdint.h>

uint64_t beam_now_ns(void);  /* CLOCK_MONOTONIC */
uint64_t beam_now_ms(void);  /* CLOCK_MONOTONIC */
uint64_t beam_wall_ms(void); /* CLOCK_REALTIME */

#endif
