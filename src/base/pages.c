/* SPDX-License-Identifier: BSD-3-Clause
 * Huge pages of the hugetlb pool are reserved by mmap itself (no MAP_NORESERVE), so an empty pool
 * makes mmap fail instead of raising SIGBUS on first access. */
#include "pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE_BYTES ((size_t)2 << 20)

static size_t whole(size_t len_bytes)
{
	return (len_bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
}

void *beam_pages_map(size_t len_bytes)
{
	size_t bytes = whole(len_bytes);
	uint8_t *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (base != MAP_FAILED)
		return base;
	return beam_pages_map_growing(len_bytes);
}

/* Reserves an aligned range of addresses, not accessible yet: maps more than wanted and unmaps the
 * rest. If there is not enough memory, making the range accessible fails. */
static uint8_t *reserve(size_t bytes)
{
	uint8_t *base =
	    mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	size_t before = (HUGE_BYTES - (uintptr_t)base % HUGE_BYTES) % HUGE_BYTES;

	if (before)
		munmap(base, before);
	munmap(base + before + bytes, HUGE_BYTES - before);
	return base + before;
}

void *beam_pages_map_growing(size_t len_bytes)
{
	size_t bytes = whole(len_bytes);
	uint8_t *base = reserve(bytes);

	if (!base)
		return NULL;
	if (mprotect(base, bytes, PROT_READ | PROT_WRITE)) {
		munmap(base, bytes);
		return NULL;
	}
	madvise(base, bytes, MADV_HUGEPAGE); /* only a hint: small pages will do */
	return base;
}

void *beam_pages_grow(void *base, size_t len_bytes, size_t longer_bytes)
{
	size_t bytes = whole(longer_bytes);
	uint8_t *place = reserve(bytes);

	if (!place)
		return NULL;
	/* To an aligned address huge pages are moved without being split. */
	if (mremap(base, whole(len_bytes), bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place) !=
	    MAP_FAILED)
		return place;
	munmap(place, bytes);
	return NULL;
}

void beam_pages_unmap(void *base, size_t len_bytes)
{
	if (base)
		munmap(base, whole(len_bytes));
}

static int populate(void *at, size_t len_bytes, int how)
{
	while (madvise(at, len_bytes, how)) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int beam_pages_populate(void *at, size_t len_bytes)
{
	return populate(at, len_bytes, MADV_POPULATE_WRITE);
}

int beam_pages_map_shared(void *at, size_t len_bytes)
{
	return populate(at, len_bytes, MADV_POPULATE_READ);
}

void *beam_ring_map(int fd, size_t len_bytes, bool writable)
{
	int rights = PROT_READ | (writable ? PROT_WRITE : 0);

	if (len_bytes > SIZE_MAX / 2) {
		errno = EOVERFLOW;
		return NULL;
	}
	/* Reserve the range for both halves, which the mappings below then replace. */
	uint8_t *base = mmap(NULL, 2 * len_bytes, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	for (int half = 0; half < 2; half++) {
		if (mmap(base + half * len_bytes, len_bytes, rights, MAP_SHARED | MAP_FIXED, fd,
			 0) == MAP_FAILED) {
			int err = errno;

			munmap(base, 2 * len_bytes);
			errno = err;
			return NULL;
		}
	}
	return base;
}

void beam_ring_unmap(void *base, size_t len_bytes)
{
	if (base)
		munmap(base, 2 * len_bytes);
}
