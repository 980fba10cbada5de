/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk of a known speed for bench sync: ext4 on a loop device whose file is in memory, slowed
 * down by the kernel's block I/O throttle (cgroup v1, in its root, for this one device only). It is
 * mounted in a mount namespace of this process and its children, so it disappears with them,
 * however they end. Single-threaded; needs root.
 */
#ifndef BEAM_SLOW_DISK_H
#define BEAM_SLOW_DISK_H

#include <limits.h>
#include <stdint.h>

struct beam_slow_disk {
	char path[PATH_MAX]; /* mount point; "" when not mounted */
	int loop;            /* -1: none */
	unsigned major, minor;
	char rule[PATH_MAX]; /* the throttle's file */
};

/* Makes a disk of `size_bytes` (memory is used as it is written) that writes `rate` bytes per
 * second, and mounts it on the empty directory `path`. Returns 0; or -errno with the reason in
 * why[cap], and nothing left behind. */
int beam_slow_disk_open(const char *path, uint64_t size_bytes, uint64_t rate,
			struct beam_slow_disk *disk, char *why, int cap);

/* Takes the disk down. Also for a disk that could not be made. */
void beam_slow_disk_close(struct beam_slow_disk *disk);

#endif
