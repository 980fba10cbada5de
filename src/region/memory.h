/* SPDX-License-Identifier: BSD-3-Clause
 * How much memory this process could still get without hurting anyone. Any thread. */
#ifndef BEAM_MEMORY_H
#define BEAM_MEMORY_H

#include <stdint.h>

/* MemAvailable, or what the tightest control group above this process (v2 or v1) leaves, whichever
 * is less. 0 when the kernel does not say. */
uint64_t beam_memory_available(void);

/* Bytes in the 2 MiB hugetlb pool that nobody has reserved, surplus pages that the kernel may still
 * make included. */
uint64_t beam_memory_hugetlb_free(void);

#endif
