/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What processes have used of the processors: user time, and all of it. One thread.
 */
#ifndef BEAM_BENCH_CPU_CLOCK_H
#define BEAM_BENCH_CPU_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BEAM_CPU_CLOCK_PIDS 4

struct beam_cpu_time {
	uint64_t user_ns; /* since the clock was opened; without events since the processes began */
	uint64_t stretches; /* of user mode; 0 without events */
	uint64_t run_ns;    /* user and system, exact; since the processes began */
};

struct beam_cpu_clock;

/* Of `npids` processes, all threads of each taken together; at most BEAM_CPU_CLOCK_PIDS. User time is that
 * between the kernel's events of entering and leaving user mode where it can tell them (root, tracefs,
 * nohz_full= processors to which all threads are bound), exact to a microsecond; else the kernel's clock,
 * that moves in steps of a tick (and can step back by one). 0 or -errno. */
int beam_cpu_clock_open(const pid_t *pids, size_t npids, struct beam_cpu_clock **out);
void beam_cpu_clock_close(struct beam_cpu_clock **clock);

/* Whether it goes by events. */
bool beam_cpu_clock_exact(const struct beam_cpu_clock *clock);

/* Goes by ticks from now on: where no event came though there was work (another PID namespace). */
void beam_cpu_clock_distrust(struct beam_cpu_clock *clock);

/* What telling an event added to each stretch, on average: what all stretches since the clock was opened have
 * more than the kernel's own clock, whose steps are small against so long a time. 0 without events. */
double beam_cpu_clock_event_ns(const struct beam_cpu_clock *clock);

/* 0; -ESRCH or the like: a process is gone; -EOVERFLOW: events were lost, as this was called too seldom. */
int beam_cpu_clock_read(struct beam_cpu_clock *clock, struct beam_cpu_time *out);

#endif
