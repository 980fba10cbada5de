/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ib_read_bw of perftest, both ends on this host: what a device gives to READs of 1 MiB.
 */
#ifndef BEAM_BENCH_READ_BW_H
#define BEAM_BENCH_READ_BW_H

#include <stdint.h>

struct beam_read_bw {
	char device[64];
	char host[256];
	int gid_index; /* -1: its own choice */
};

/* `gid` as inet_ntop writes it; "": not known. `host`: the device's address. 0 or -EINVAL for a name
 * that no device has. */
int beam_read_bw_init(struct beam_read_bw *bw, const char *device, const char *gid,
		      const char *host);

/* Runs it once, for at least so many bytes. 0 with MB/s (of 10^6 bytes), or a negative code with the line in `error`
 * (BEAM_REDIS_ERROR_BYTES). */
int beam_read_bw_run(const struct beam_read_bw *bw, uint64_t bytes, double *mb_per_s, char *error);

#endif
