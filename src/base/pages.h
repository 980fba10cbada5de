/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Private memory for large buffers, in huge pages if possible: this saves page faults, and entries
 * in a device's table once the memory is registered. Also ring buffers that are mapped twice.
 */
#ifndef BEAM_PAGES_H
#define BEAM_PAGES_H

#include <stdbool.h>
#include <stddef.h>

/* Returns zeroed memory, aligned to 2 MiB: from the pool of huge pages (hugetlb) if it has enough
 * of them, else transparent huge pages if the kernel provides them, else small pages. NULL without
 * memory. Any thread. */
void *beam_pages_map(size_t len_bytes);
/* The same, but never from the hugetlb pool, so that it can grow. */
void *beam_pages_map_growing(size_t len_bytes);
/* Enlarges memory from beam_pages_map_growing or from an earlier call of this function, from
 * len_bytes to longer_bytes, by moving pages instead of copying. Returns the new address; NULL: the
 * old memory is unchanged. Free it by beam_pages_unmap. Any thread. */
void *beam_pages_grow(void *base, size_t len_bytes, size_t longer_bytes);
/* Frees memory from beam_pages_map, of the same length. Accepts NULL. */
void beam_pages_unmap(void *base, size_t len_bytes);

/* Has the kernel make whole pages that are mapped and can be written; changes no byte. Returns 0 or
 * -errno: -EINVAL before Linux 5.14. Any thread. */
int beam_pages_populate(void *at, size_t len_bytes);
/* The same for a shared mapping of pages that exist already, to be written to: three times as fast,
 * because for a read the kernel maps the neighbours of a page along with it. */
int beam_pages_map_shared(void *at, size_t len_bytes);

/* Maps the first len_bytes (whole pages) of a memfd twice, one mapping right after the other, so
 * that data that wraps around the end of a ring is contiguous. NULL on failure, with errno. Any
 * thread. */
void *beam_ring_map(int fd, size_t len_bytes, bool writable);
/* Unmaps both. Accepts NULL. */
void beam_ring_unmap(void *base, size_t len_bytes);

#endif
