/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Measures a server and its saving child from outside by /proc, so that stock Redis and rdbeam are
 * measured in the same way. Any thread.
 */
#ifndef BEAM_BENCH_PROCESS_H
#define BEAM_BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct beam_process_use {
	double cpu_s;          /* user and system, all threads; in ticks */
	uint64_t minor_faults; /* all threads; after a fork, each page written is one */
};

/* Reads the use of a process. Returns 0, or -errno when there is no such process; then `out` is
 * zeroed. */
int beam_process_use(pid_t pid, struct beam_process_use *out);

/* Reads the processor time of all threads, including ended ones: in user mode, as precisely as the
 * kernel accounts it, and user and system together, exact. Returns 0 or -errno. */
int beam_process_clocks(pid_t pid, uint64_t *user_ns, uint64_t *run_ns);

/* Returns the youngest child, including zombies; 0 when there is none; -errno when the kernel does
 * not tell. */
pid_t beam_process_child(pid_t pid);

/* Opens a pidfd, which becomes readable when the process has ended. Returns an fd to close, or
 * -errno. */
int beam_process_open(pid_t pid);

/* Private dirty memory in bytes of a process and its children, without memfds: what was copied on
 * write for them, and what they wrote themselves. 0 for a process that is gone. */
uint64_t beam_process_private_bytes(pid_t pid);

/* Inode number of the process's program, which changes at exec. 0 for a process that is gone. */
uint64_t beam_process_program(pid_t pid);

#endif
