/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An extent: one memfd of the region, all of its pages faulted in. Made by a thread of the region's,
 * mapped by the daemon and, through the passed fd, by the lanes. Any thread, no shared state.
 */
#ifndef BEAM_EXTENT_H
#define BEAM_EXTENT_H

#include <stdatomic.h>
#include <stdint.h>

enum beam_pages { BEAM_PAGES_HUGETLB, BEAM_PAGES_THP, BEAM_PAGES_SMALL };

struct beam_extent {
	int fd;
	uint32_t segment_bytes; /* what it is cut into */
	uint8_t *base;          /* 2 MiB aligned */
	uint64_t bytes;
	enum beam_pages pages; /* what the kernel gave */
};

/* "2 MiB hugetlb pages" ... */
const char *beam_pages_name(enum beam_pages pages);
/* 2 MiB or 4096. */
uint64_t beam_pages_bytes(enum beam_pages pages);

/* Makes an extent of `bytes` (a multiple of segment_bytes), or of as many whole segments as there
 * is memory for, from the hugetlb pool. Every page is allocated before the mapping is touched, so
 * that a short pool is an error here and not a SIGBUS later. 0; -ENOSPC when the pool has not even
 * one segment, -ENOSYS when the kernel has no hugetlb; -ECANCELED when *stop became true; -errno.
 */
int beam_extent_make_hugetlb(uint64_t bytes, uint32_t segment_bytes, const atomic_bool *stop,
			     struct beam_extent *out);

/* The same from shared memory: transparent huge pages if `thp` and the kernel is willing, else
 * 4 KiB pages. The caller has checked that so much memory is available. */
int beam_extent_make_shmem(uint64_t bytes, uint32_t segment_bytes, int thp, const atomic_bool *stop,
			   struct beam_extent *out);

/* Unmaps and closes; the memory goes when the last mapping of other processes goes. */
void beam_extent_free(struct beam_extent *extent);

/* Maps fd[0..bytes) shared, writable, at a 2 MiB boundary, left out of core dumps. 0 or -errno. */
int beam_extent_map(int fd, uint64_t bytes, uint8_t **base);

/* Fills the page tables of [at, at + len_bytes) so that writing takes no faults. 0; -EINVAL when
 * the kernel (before 5.14) cannot; -errno where a touch would have been a SIGBUS. */
int beam_extent_populate(uint8_t *at, uint64_t len_bytes);

#endif
