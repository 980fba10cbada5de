/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Measures how fast this machine copies memory, which no snapshot can exceed.
 */
#ifndef BEAM_BENCH_MEMCPY_H
#define BEAM_BENCH_MEMCPY_H

/* Measures how many bytes (in units of 10^9) memcpy copies per second on all CPUs of this process:
 * the median of several rounds over buffers too large for any cache. Returns 0, -ENOMEM, or -EAGAIN
 * (no thread). */
int beam_bench_memcpy(double *gb_per_s, int *ncpus);

#endif
