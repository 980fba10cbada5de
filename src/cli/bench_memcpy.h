/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How fast this machine copies memory: what no snapshot can exceed.
 */
#ifndef BEAM_BENCH_MEMCPY_H
#define BEAM_BENCH_MEMCPY_H

/* Bytes copied per second by memcpy on all CPUs of this process, in 10^9: the median of some
 * rounds over buffers that no cache holds. 0, or -ENOMEM, -EAGAIN (no thread). */
int beam_bench_memcpy(double *gb_per_s, int *ncpus);

#endif
