/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The region, as its owner (the daemon) sees it: memfd extents of at most 1 GiB, cut into slots of
 * one segment each. Memory is faulted in by threads of the region's before it is offered, hugetlb
 * first, then THP, then 4 KiB pages (said once in the log). Sealed against shrinking and growing. A
 * slot is FREE, or held by a generation until that generation's fence is complete.
 *
 * All functions on the loop's thread unless said otherwise.
 */
#ifndef BEAM_REGION_H
#define BEAM_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl.h"

#define BEAM_EXTENT_MAX_BYTES (1ull << 30)
#define BEAM_EXTENTS_MAX      1024

struct beam_region;

struct beam_region_opts {
	uint64_t max_bytes; /* 0: half of MemAvailable, read at each growth */
	uint32_t segment_bytes;
	enum beam_hugepages hugepages;
	unsigned threads; /* that fault memory in, at most 4; 0: by processors. Of the open only */
};

/* Opens an empty region (no memory yet) and its faulting threads. 0, or -errno. */
int beam_region_open(const struct beam_region_opts *opts, struct beam_region **out);
/* Stops the threads, unmaps everything. No generation may be alive. NULL-safe, clears the pointer.
 */
void beam_region_close(struct beam_region **region);

/* Takes new limits; they hold for later growth. Changing segment_bytes needs an empty region (no
 * slot held): -EBUSY otherwise, and the caller tries again when it is; free extents are dropped. */
int beam_region_configure(struct beam_region *region, const struct beam_region_opts *opts);

/* Becomes readable when extents were added (or growth failed): then call beam_region_collect. */
int beam_region_fd(const struct beam_region *region);

/* Asks the threads for memory until `want_free` slots are free, in extents sized to the need (at
 * least 4 segments, 16 in a region that has as many; at most 1 GiB). Returns at once. */
void beam_region_grow(struct beam_region *region, uint32_t want_free);

/* Takes back what was asked for and not made yet; an extent that is being made is finished. */
void beam_region_enough(struct beam_region *region);

/* Takes in what the threads have made. 0; BEAM_E_FULL when max_bytes is reached or memory is short
 * and fewer slots than asked for are free (error text in beam_region_error); BEAM_E_UNSUPPORTED
 * when hugepages are required and there are none. */
int beam_region_collect(struct beam_region *region);
const char *beam_region_error(const struct beam_region *region);
/* True while a thread still works on a growth. */
bool beam_region_growing(const struct beam_region *region);

/* Takes a free slot for a generation. 0, or -EAGAIN when none is free. */
int beam_region_take(struct beam_region *region, uint32_t *slot);
/* Gives a slot back: only after the fence of the generation that held it. */
void beam_region_give(struct beam_region *region, uint32_t slot);

/* Address of a slot's first byte in this process; segment_bytes long, aligned to 2 MiB. */
void *beam_region_at(const struct beam_region *region, uint32_t slot);

uint32_t beam_region_free_slots(const struct beam_region *region);
uint32_t
beam_region_extents(const struct beam_region *region); /* numbers are 0..n-1, holes allowed */
/* The extent's memfd (the region's), address and size; false for a hole. */
bool beam_region_extent(const struct beam_region *region, uint32_t extent, int *fd, void **base,
			uint64_t *bytes);
uint64_t beam_region_bytes(const struct beam_region *region);
uint64_t beam_region_page_bytes(const struct beam_region *region); /* of the newest extent */
/* Segments that could still be had: free ones plus growth to the limit. What the system has for the
 * growth takes a millisecond to find out, and is not asked when `enough` are there without it. */
uint64_t beam_region_could_hold(const struct beam_region *region, uint64_t enough);

/* Unmaps extents whose slots are all free (retention is over). */
void beam_region_trim(struct beam_region *region);

#endif
