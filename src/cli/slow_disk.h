/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk of a known rate for bench sync: ext4 on a loop device whose file is in memory, held back
 * by the kernel's block I/O throttle (cgroup v1, in its root: that touches this one device only).
 * Mounted in a mount namespace of this process and its children, so that it goes away with them,
 * however they end. One thread; needs root.
 */
#ifndef BEAM_SLOW_DISK_H
#define BEAM_SLOW_DISK_H

#include <limits.h>
#include <stdint.h>

struct beam_slow_disk {
	char path[PATH_MAX]; /* where it is mounted; "" when it is not */
	int loop;            /* -1: none */
	unsigned major, minor;
	char rule[PATH_MAX]; /* the throttle's file */
};

/* Makes a disk of `size_bytes` (memory is used as it is written) that writes `rate` bytes a second,
 * and mounts it on the empty directory `path`. 0; or -errno with why[cap] in words, and nothing
 * left. */
int beam_slow_disk_open(const char *path, uint64_t size_bytes, uint64_t rate,
			struct beam_slow_disk *disk, char *why, int cap);

/* Takes it apart. For a disk that was not made too. */
void beam_slow_disk_close(struct beam_slow_disk *disk);

#endif
