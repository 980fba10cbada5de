/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An extent is a memfd of the region with all its pages allocated. A thread of the region makes it;
 * the daemon maps it, and so do the lanes, through the fd passed to them. Any thread; nothing is
 * shared but the costs that are passed.
 */
#ifndef BEAM_EXTENT_H
#define BEAM_EXTENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "page_cost.h"

enum beam_pages { BEAM_PAGES_HUGETLB, BEAM_PAGES_THP, BEAM_PAGES_SMALL };

struct beam_extent {
	int fd;
	uint32_t segment_bytes; /* size of its slots */
	uint8_t *base;          /* 2 MiB aligned */
	uint64_t bytes;
	enum beam_pages pages; /* what the kernel provided */
	bool spared;           /* huge pages would have cost too much */
};

/* For the log: "2 MiB hugetlb pages" ... */
const char *beam_pages_name(enum beam_pages pages);
/* Page size in bytes: 2 MiB or 4096. */
uint64_t beam_pages_bytes(enum beam_pages pages);

/* Makes an extent of `bytes` (a multiple of segment_bytes) from the hugetlb pool, or of as many
 * whole segments as there is memory for. Every page is allocated before the mapping is touched, so
 * a lack of memory is an error here, and no SIGBUS later. 0; -ENOSPC if the pool does not have even
 * one segment, -ENOSYS if the kernel has no hugetlb, -ECANCELED if *stop became true, or -errno.
 * *out is valid only if 0. */
int beam_extent_make_hugetlb(uint64_t bytes, uint32_t segment_bytes, const atomic_bool *stop,
			     struct beam_extent *out);

/* The same from shared memory: transparent huge pages if `thp`, the kernel grants them, and they do
 * not cost too much by `cost`, else 4 KiB pages. The caller has checked that so much memory is
 * available. */
int beam_extent_make_shmem(uint64_t bytes, uint32_t segment_bytes, int thp,
			   struct beam_page_cost *cost, const atomic_bool *stop,
			   struct beam_extent *out);

/* Unmaps the extent and closes its fd. The memory is freed when no other process maps it or has its
 * file open any more. */
void beam_extent_free(struct beam_extent *extent);

/* The same for an extent that nobody uses any more: the memory is freed at once. A puller on this
 * host, for one, has the file open until it ends, and might be stopped. */
void beam_extent_drop(struct beam_extent *extent);

/* Maps fd[0..bytes) shared and writable, at a 2 MiB boundary, and excludes it from core dumps. 0 or
 * -errno. */
int beam_extent_map(int fd, uint64_t bytes, uint8_t **base);

/* Fills the page tables of [at, at + len_bytes), whose pages exist, so that writes cause no faults.
 * 0; -EINVAL if the kernel (before 5.14) cannot do it; or -errno where an access would have raised
 * SIGBUS. */
int beam_extent_map_pages(uint8_t *at, uint64_t len_bytes);

#endif
