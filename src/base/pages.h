/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Private memory for large buffers, in huge pages where that is possible: fewer faults, and fewer
 * entries in a device's table once it is registered. And rings.
 */
#ifndef BEAM_PAGES_H
#define BEAM_PAGES_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed memory, aligned to 2 MiB: of the pool of huge pages (hugetlb) if that has enough of them,
 * else transparent huge pages if the kernel gives them, else small ones. NULL when there is none.
 * Any thread. */
void *beam_pages_map(size_t len_bytes);
/* The same, but never of the pool, so that it can grow. */
void *beam_pages_map_growing(size_t len_bytes);
/* Makes what beam_pages_map_growing or this has returned for len_bytes longer, by moving it, not by copying. NULL: the
 * old one stays as it is. Given back by beam_pages_unmap. Any thread. */
void *beam_pages_grow(void *base, size_t len_bytes, size_t longer_bytes);
/* Gives back what beam_pages_map returned for the same length; nothing for NULL. */
void beam_pages_unmap(void *base, size_t len_bytes);

/* Maps the first len_bytes (whole pages) of a memfd twice, the second time right behind the first, so
 * that what goes round a ring's end lies in one piece. NULL, with errno. Any thread. */
void *beam_ring_map(int fd, size_t len_bytes, bool writable);
/* Nothing for NULL. */
void beam_ring_unmap(void *base, size_t len_bytes);

#endif
