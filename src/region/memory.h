/* SPDX-License-Identifier: BSD-3-Clause
 * How much memory this process could still get without hurting anyone. Any thread. */
#ifndef BEAM_MEMORY_H
#define BEAM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct beam_memory_left {
	uint64_t bytes;       /* 0 when the kernel does not say */
	uint64_t group_limit; /* of the control group that leaves so little; 0: it is the host */
	bool is_near;         /* less than a quarter of some limit is left */
	bool is_short;        /* less than a save may take is */
};

/* MemAvailable, or what the tightest control group above a process (0: this one) leaves, by its hard limit or
 * the one from which on it is slowed down, whichever is less. */
void beam_memory_look(pid_t pid, struct beam_memory_left *left);
/* The groups' part of it: `groups` is a process's /proc/PID/cgroup, `root` where they are mounted. */
void beam_memory_in_groups(const char *root, const char *groups, struct beam_memory_left *left);
/* As beam_memory_look for this process. */
uint64_t beam_memory_available(void);

/* Bytes in the 2 MiB hugetlb pool that nobody has reserved, surplus pages that the kernel may still
 * make included. */
uint64_t beam_memory_hugetlb_free(void);

#endif
