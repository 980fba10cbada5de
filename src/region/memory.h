/* SPDX-License-Identifier: BSD-3-Clause
 * How much memory this process could still take without hurting others. Any thread. */
#ifndef BEAM_MEMORY_H
#define BEAM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct beam_memory_left {
	uint64_t bytes;       /* 0 if the kernel does not tell */
	uint64_t group_limit; /* of the tightest control group; 0: the host has least */
	bool is_near;         /* less than a quarter of some limit is left */
	bool is_short;        /* less is left than a save may take */
};

/* Gets MemAvailable, or what the tightest control group above a process (`pid`; 0: this one) leaves
 * if that is less. A group's limit is its hard limit or the one above which its processes are
 * slowed down, whichever is lower. */
void beam_memory_look(pid_t pid, struct beam_memory_left *left);
/* The part of it for control groups: `groups` is the text of a process's /proc/PID/cgroup, `root`
 * where they are mounted. Lowers *left where a group leaves less. */
void beam_memory_in_groups(const char *root, const char *groups, struct beam_memory_left *left);
/* The bytes that beam_memory_look finds for this process. */
uint64_t beam_memory_available(void);

/* Bytes of the 2 MiB hugetlb pool that nobody has reserved, including surplus pages that the kernel
 * may still allocate. */
uint64_t beam_memory_hugetlb_free(void);

#endif
