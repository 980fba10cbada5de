/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs ib_read_bw of perftest with both ends on this host, to measure what a device achieves with
 * READs of 1 MiB.
 */
#ifndef BEAM_BENCH_READ_BW_H
#define BEAM_BENCH_READ_BW_H

#include <stdint.h>

struct beam_read_bw {
	char device[64];
	char host[256];
	int gid_index; /* -1: leave the choice to it */
};

/* Prepares a measurement. `gid` is in the form of inet_ntop; "": unknown. `host` is the device's
 * address. Returns 0, or -EINVAL for a name that no device can have. */
int beam_read_bw_init(struct beam_read_bw *bw, const char *device, const char *gid,
		      const char *host);

/* Runs once, for at least `bytes` bytes. Returns 0 with MB/s (of 10^6 bytes), or a negative code
 * with the line in `error` (BEAM_REDIS_ERROR_BYTES). */
int beam_read_bw_run(const struct beam_read_bw *bw, uint64_t bytes, double *mb_per_s, char *error);

#endif
