/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The region as its owner, the daemon, sees it: memfd extents of at most 1 GiB, divided into slots
 * of one segment each. Threads of the region fault in memory before it is offered: hugetlb pages
 * first, then THP, then 4 KiB pages (the log says which, once). Where THP come too slowly, 4 KiB pages
 * stand in for them until there is time (page_cost.h). Extents are sealed against
 * shrinking and growing. A slot is free, or held by a generation until that generation's fence is
 * complete.
 *
 * All functions must be called on the loop's thread unless noted otherwise.
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
	/* Threads that fault in memory, at most 4; 0: by the number of processors. Only
	 * beam_region_open uses it. */
	unsigned threads;
};

/* Opens an empty region (no memory yet) and starts its threads. 0, -EINVAL for a bad segment size,
 * -ENOMEM or another -errno. */
int beam_region_open(const struct beam_region_opts *opts, struct beam_region **out);
/* Stops the threads and unmaps everything. No generation may be alive. Accepts NULL, clears the
 * pointer. */
void beam_region_close(struct beam_region **region);

/* Sets new limits for later growth. segment_bytes can be changed only while no slot is held: else
 * -EBUSY, nothing is changed, and the caller tries again later. Free extents of the old size are
 * dropped. 0, -EBUSY, or -EINVAL for a bad segment size. */
int beam_region_configure(struct beam_region *region, const struct beam_region_opts *opts);

/* Becomes readable when extents were made or growth failed: then call beam_region_collect. */
int beam_region_fd(const struct beam_region *region);

/* Asks the threads for memory until `want_free` slots are free, in extents sized to the need (at
 * least 4 segments, 16 once the region has as many; at most 1 GiB). Returns at once. */
void beam_region_grow(struct beam_region *region, uint32_t want_free);

/* Somebody waits from now on, so what beam_region_renew has left to make comes as fast as it can. */
void beam_region_hurry(struct beam_region *region);

/* Cancels growth that has not begun; extents that are being made are finished. */
void beam_region_enough(struct beam_region *region);

/* Takes in what the threads have made. 0; BEAM_E_FULL if max_bytes is reached or memory is short,
 * and fewer slots are free than were asked for (see beam_region_error); BEAM_E_UNSUPPORTED if huge
 * pages are required and there are none. */
int beam_region_collect(struct beam_region *region);
/* Text of the last failure that was collected; "" if there was none. */
const char *beam_region_error(const struct beam_region *region);
/* True while a thread still works on a growth. */
bool beam_region_growing(const struct beam_region *region);

/* Takes a free slot for a generation. 0, or -EAGAIN if none is free. */
int beam_region_take(struct beam_region *region, uint32_t *slot);
/* Gives a slot back. Only after the fence of the generation that held it. */
void beam_region_give(struct beam_region *region, uint32_t slot);

/* Address of a slot's first byte in this process. It is segment_bytes long and aligned to 2 MiB. */
void *beam_region_at(const struct beam_region *region, uint32_t slot);
/* The memfd that a slot is in (owned by the region), and the slot's offset in it in bytes. */
int beam_region_file(const struct beam_region *region, uint32_t slot, uint64_t *at);

/* Number of free slots. */
uint32_t beam_region_free_slots(const struct beam_region *region);
/* Extents have numbers 0..n-1, possibly with holes. */
uint32_t beam_region_extents(const struct beam_region *region);
/* Gets an extent's memfd (owned by the region), address and size. False for a hole. */
bool beam_region_extent(const struct beam_region *region, uint32_t extent, int *fd, void **base,
			uint64_t *bytes);
/* Size of all extents in bytes. */
uint64_t beam_region_bytes(const struct beam_region *region);
uint64_t beam_region_page_bytes(const struct beam_region *region); /* of the newest extent */
/* Segments that are free or could still be made within the limit. Finding out what the system has
 * for growth takes a millisecond, and is left out if `enough` segments are free. */
uint64_t beam_region_could_hold(const struct beam_region *region, uint64_t enough);

/* Drops extents whose slots are all free, but leaves `keep_free` free slots. The threads free the
 * memory. With 0 it ends beam_region_renew, too. */
void beam_region_trim(struct beam_region *region, uint32_t keep_free);
/* Has those of them made again whose memory is in small pages only because huge ones would have kept
 * a save waiting. To be called when nothing is expected to need memory soon; if something does,
 * call beam_region_hurry. */
void beam_region_renew(struct beam_region *region);

#endif
