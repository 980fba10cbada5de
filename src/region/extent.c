/* SPDX-License-Identifier: BSD-3-Clause
 * Makes and maps the memory of the region. The order of the steps is what prevents SIGBUS: first
 * allocate (by fallocate or MADV_POPULATE_WRITE, which fail with an errno), then truncate the file
 * to what was allocated, then seal its size. This is done segment by segment, so that a stop is
 * noticed soon. */
#include "extent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "fault.h"
#include "log.h"
#include "pages.h"
#include "rdbeam/error.h"
#include "sockets.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define HUGE_BYTES     (2ull << 20)
#define SMALL_BYTES    4096u
#define COLLAPSE_BYTES (32ull << 20)

static const char thp_dir[] = "/sys/kernel/mm/transparent_hugepage";

const char *beam_pages_name(enum beam_pages pages)
{
	switch (pages) {
	case BEAM_PAGES_HUGETLB:
		return "2 MiB hugetlb pages";
	case BEAM_PAGES_THP:
		return "2 MiB transparent huge pages";
	default:
		return "4 KiB pages";
	}
}

uint64_t beam_pages_bytes(enum beam_pages pages)
{
	return pages == BEAM_PAGES_SMALL ? SMALL_BYTES : HUGE_BYTES;
}

int beam_extent_map(int fd, uint64_t bytes, uint8_t **base)
{
	int fault = BEAM_FAULT("extent.map");

	if (fault)
		return fault;
	uint8_t *range = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (range == MAP_FAILED)
		return -errno;
	uint64_t skip = (HUGE_BYTES - ((uintptr_t)range & (HUGE_BYTES - 1))) & (HUGE_BYTES - 1);
	uint8_t *at = range + skip;

	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		int err = -errno;

		munmap(range, bytes + HUGE_BYTES);
		return err;
	}
	if (skip)
		munmap(range, skip);
	munmap(at + bytes, HUGE_BYTES - skip);
	if (madvise(at, bytes, MADV_DONTDUMP))
		beam_log(BEAM_LOG_DEBUG, "extent of %" PRIu64 " bytes stays in core dumps: %s",
			 bytes, strerror(errno));
	*base = at;
	return 0;
}

static int make_pages(uint8_t *at, uint64_t len_bytes)
{
	int err = BEAM_FAULT("extent.populate");

	return err ? err : beam_pages_populate(at, len_bytes);
}

int beam_extent_map_pages(uint8_t *at, uint64_t len_bytes)
{
	int err = BEAM_FAULT("extent.populate");

	return err ? err : beam_pages_map_shared(at, len_bytes);
}

static int allocate(int fd, uint64_t offset, uint64_t len_bytes)
{
	int err = BEAM_FAULT("extent.allocate");

	if (err)
		return err;
	while (fallocate(fd, 0, (off_t)offset, (off_t)len_bytes)) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Creates a memfd of `bytes`, without pages yet. */
static int open_memfd(unsigned flags, uint64_t bytes, int *fd)
{
	int err = BEAM_FAULT("extent.memfd");

	if (err)
		return err;
	int made = memfd_create("rdbeam", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (made < 0)
		return -errno;
	if (ftruncate(made, (off_t)bytes)) {
		err = -errno;
		beam_close(&made);
		return err;
	}
	*fd = made;
	return 0;
}

/* Truncates the file to the `bytes` that were allocated, and seals its size: if anybody could
 * truncate it later, accesses to the mapping could raise SIGBUS. */
static int settle(int fd, uint64_t bytes)
{
	int err = BEAM_FAULT("extent.settle");

	if (err)
		return err;
	if (ftruncate(fd, (off_t)bytes) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	return 0;
}

int beam_extent_make_hugetlb(uint64_t bytes, uint32_t segment_bytes, const atomic_bool *stop,
			     struct beam_extent *out)
{
	struct beam_extent extent = {.segment_bytes = segment_bytes, .pages = BEAM_PAGES_HUGETLB};
	uint64_t got = 0;
	int err = open_memfd(MFD_HUGETLB | MFD_HUGE_2MB, bytes, &extent.fd);

	if (err)
		return err == -ENODEV || err == -EINVAL || err == -ENOENT ? -ENOSYS : err;
	while (!err && got < bytes) {
		if (atomic_load(stop))
			err = -ECANCELED;
		else
			err = allocate(extent.fd, got, segment_bytes);
		got += err ? 0 : segment_bytes;
	}
	if (err == -ECANCELED || got == 0)
		goto close_fd;
	err = settle(extent.fd, got);
	if (err)
		goto close_fd;
	extent.bytes = got;
	err = beam_extent_map(extent.fd, got, &extent.base);
	if (err)
		goto close_fd;
	/* The pages exist; only the page tables have to be filled. A kernel that cannot do that in
	 * advance does it on first access. */
	err = make_pages(extent.base, got);
	if (err && err != -EINVAL) {
		beam_extent_free(&extent);
		return err;
	}
	*out = extent;
	return 0;
close_fd:
	beam_close(&extent.fd);
	return err == -ENOMEM ? -ENOSPC : err;
}

/* Whether the file says that the kernel may use huge pages for shared memory that asks for them. */
static bool thp_file_allows(const char *name)
{
	char path[128], text[128] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", thp_dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof(text) - 1);

	beam_close(&fd);
	return n > 0 && (strstr(text, "[always]") || strstr(text, "[within_size]") ||
			 strstr(text, "[advise]") || strstr(text, "[force]"));
}

/* How much of the mapping at `base` is mapped by huge pages, according to the kernel. */
static uint64_t thp_bytes(const uint8_t *base)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[512];
	uint64_t found = 0;
	bool ours = false;

	if (!smaps)
		return 0;
	while (fgets(line, sizeof(line), smaps)) {
		uint64_t from, to, kib;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			ours = from == (uintptr_t)base;
		else if (ours && sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1)
			found = kib << 10;
	}
	fclose(smaps);
	return found;
}

/* Allocates a range as huge pages, whatever shmem_enabled says: a range that holds any page can be
 * collapsed into a huge page. This is also several times faster than faulting in 512 small ones.
 * Each call makes the kernel wait for a worker on every CPU, which takes long if other processes
 * keep the CPUs busy; so the range should be larger than one page. False: part of it is left, to be
 * faulted in. */
static bool collapse(const struct beam_extent *extent, uint64_t offset, uint64_t len_bytes)
{
	uint8_t *base = extent->base + offset;
	int err = BEAM_FAULT("extent.collapse");

	for (uint64_t i = 0; !err && i < len_bytes; i += HUGE_BYTES)
		err = make_pages(base + i, SMALL_BYTES);
	return !err && !madvise(base, len_bytes, MADV_COLLAPSE);
}

/* Allocates and maps one segment. On kernels without MADV_POPULATE_WRITE it uses fallocate, which
 * also fails cleanly, and then touches the pages. That is the second choice because fallocate
 * ignores the mapping's request for huge pages. */
static int fault_segment(const struct beam_extent *extent, uint64_t offset)
{
	int err = make_pages(extent->base + offset, extent->segment_bytes);

	if (err != -EINVAL)
		return err;
	err = allocate(extent->fd, offset, extent->segment_bytes);
	if (err)
		return err;
	for (uint64_t i = 0; i < extent->segment_bytes; i += SMALL_BYTES)
		*(volatile uint8_t *)(extent->base + offset + i) = 0;
	return 0;
}

int beam_extent_make_shmem(uint64_t bytes, uint32_t segment_bytes, int thp,
			   struct beam_page_cost *cost, const atomic_bool *stop,
			   struct beam_extent *out)
{
	struct beam_extent extent = {
	    .segment_bytes = segment_bytes, .bytes = bytes, .pages = BEAM_PAGES_SMALL};
	uint64_t step = (COLLAPSE_BYTES + segment_bytes - 1) / segment_bytes * segment_bytes;
	uint64_t got = 0, end = 0, began_ns = 0, len_bytes = 0;
	bool huge = false;
	int err = open_memfd(0, bytes, &extent.fd);

	if (err)
		return err;
	err = beam_extent_map(extent.fd, bytes, &extent.base);
	if (err) {
		beam_close(&extent.fd);
		return err;
	}
	bool by_fault = thp && (thp_file_allows("shmem_enabled") ||
				thp_file_allows("hugepages-2048kB/shmem_enabled"));
	bool collapses = thp && (!by_fault || madvise(extent.base, bytes, MADV_HUGEPAGE));

	while (!err && got < bytes) {
		if (got == end) {
			len_bytes = step < bytes - got ? step : bytes - got;
			end += len_bytes;
			began_ns = beam_cpu_ns();
			huge = collapses && beam_page_cost_favours_huge(cost);
			/* Stop at the first failure: memory is fragmented, or the kernel is too
			 * old. */
			if (huge)
				huge = collapses = collapse(&extent, got, len_bytes);
			else
				extent.spared |= collapses;
		}
		err = atomic_load(stop) ? -ECANCELED : fault_segment(&extent, got);
		got += err ? 0 : segment_bytes;
		if (collapses && got == end)
			beam_page_cost_note(cost, huge, len_bytes, beam_cpu_ns() - began_ns);
	}
	if (err == -ECANCELED || got == 0)
		goto free_extent;
	if (got < bytes)
		munmap(extent.base + got, bytes - got);
	extent.bytes = got;
	err = settle(extent.fd, got);
	if (err)
		goto free_extent;
	if (thp && thp_bytes(extent.base) >= got / 2)
		extent.pages = BEAM_PAGES_THP;
	*out = extent;
	return 0;
free_extent:
	beam_extent_free(&extent);
	return err == -ENOMEM ? -ENOSPC : err;
}

void beam_extent_free(struct beam_extent *extent)
{
	if (extent->base)
		munmap(extent->base, extent->bytes);
	extent->base = NULL;
	beam_close(&extent->fd);
}

void beam_extent_drop(struct beam_extent *extent)
{
	if (extent->base)
		munmap(extent->base, extent->bytes);
	extent->base = NULL;
	if (fallocate(extent->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      (off_t)extent->bytes))
		beam_log(BEAM_LOG_DEBUG, "extent of %" PRIu64 " bytes not emptied: %s",
			 extent->bytes, strerror(errno));
	beam_close(&extent->fd);
}
