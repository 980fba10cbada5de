/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Measures the processor time of processes: user time, and total time. Single-threaded.
 */
#ifndef BEAM_BENCH_CPU_CLOCK_H
#define BEAM_BENCH_CPU_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BEAM_CPU_CLOCK_PIDS 4

struct beam_cpu_time {
	/* Since the clock was opened; without events, since the processes began. */
	uint64_t user_ns;
	uint64_t stretches; /* periods in user mode; 0 without events */
	uint64_t run_ns;    /* user and system, exact; since the processes began */
};

struct beam_cpu_clock;

/* Opens a clock for `npids` processes, at most BEAM_CPU_CLOCK_PIDS; the threads of each are taken
 * together. Where the kernel can report entries to and exits from user mode (root, tracefs, all
 * threads bound to nohz_full= processors), user time is the time in between, exact to a
 * microsecond; otherwise it is the kernel's clock, which advances in ticks (and can step back by
 * one). Returns 0 or -errno. */
int beam_cpu_clock_open(const pid_t *pids, size_t npids, struct beam_cpu_clock **out);
/* Ends tracing. Accepts NULL; clears the pointer. */
void beam_cpu_clock_close(struct beam_cpu_clock **clock);

/* True when the clock uses events. */
bool beam_cpu_clock_exact(const struct beam_cpu_clock *clock);

/* Use ticks from now on: for when there were no events although there was work (another PID
 * namespace). */
void beam_cpu_clock_distrust(struct beam_cpu_clock *clock);

/* Average time that the events themselves add to each period in user mode: the difference between
 * all periods since the clock was opened and the kernel's own clock, whose steps are negligible
 * over so long a time. 0 without events. */
double beam_cpu_clock_event_ns(const struct beam_cpu_clock *clock);

/* Reads the clock. Returns 0; -ESRCH or the like when a process is gone; -EOVERFLOW when events
 * were lost because this was called too rarely. */
int beam_cpu_clock_read(struct beam_cpu_clock *clock, struct beam_cpu_time *out);

#endif
