/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What /proc tells of a server and of the child that saves: from outside, so that stock and rdbeam
 * are measured the same way. Any thread.
 */
#ifndef BEAM_BENCH_PROCESS_H
#define BEAM_BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct beam_process_use {
	double cpu_s;          /* user and system, all threads; by the kernel's ticks */
	uint64_t minor_faults; /* of all threads; after a fork each page written is one */
};

/* 0, or -errno when there is no such process; then `out` is zeroed. */
int beam_process_use(pid_t pid, struct beam_process_use *out);

/* Processor time of all threads, dead ones included: in user mode, as finely as the kernel counts it, and
 * user and system together, exact. 0 or -errno. */
int beam_process_clocks(pid_t pid, uint64_t *user_ns, uint64_t *run_ns);

/* The youngest child, dead ones that nobody has waited for included; 0: there is none. -errno: the
 * kernel does not tell. */
pid_t beam_process_child(pid_t pid);

/* The kernel's handle of a process, readable when it has ended. An fd to close, or -errno. */
int beam_process_open(pid_t pid);

/* Bytes of private dirty memory of a process and its children, memfds left out: what was copied on
 * write for them, and what they wrote themselves. 0 for a process that is gone. */
uint64_t beam_process_private_bytes(pid_t pid);

/* The number of its program's file: another one after exec. 0 for a process that is gone. */
uint64_t beam_process_program(pid_t pid);

#endif
