/* SPDX-License-Identifier: BSD-3-Clause
 * The region as its owner sees it: growth, limits, slots, trimming, changes of the segment size. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "extent.h"
#include "memory.h"
#include "rdbeam/error.h"
#include "region.h"
#include "table.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MIB     (1ull << 20)
#define SEGMENT (2u << 20)

/* All tests run with one thread and with the maximum. */
static unsigned threads;
static atomic_bool slow, no_pool;
static _Atomic uint64_t waited_ns;

uint64_t __real_beam_memory_hugetlb_free(void);
uint64_t __wrap_beam_memory_hugetlb_free(void);

/* As where there is no pool. */
uint64_t __wrap_beam_memory_hugetlb_free(void)
{
	return atomic_load(&no_pool) ? 0 : __real_beam_memory_hugetlb_free();
}

uint64_t __real_beam_cpu_ns(void);
uint64_t __wrap_beam_cpu_ns(void);

/* As where every new page waits for the host. */
uint64_t __wrap_beam_cpu_ns(void)
{
	if (atomic_load(&slow))
		atomic_fetch_add(&waited_ns, 10000000000u);
	return __real_beam_cpu_ns() + atomic_load(&waited_ns);
}

static struct beam_region *open_region_of(uint64_t max_bytes, uint32_t segment_bytes,
					  enum beam_hugepages hugepages, unsigned nthreads)
{
	struct beam_region_opts opts = {.max_bytes = max_bytes,
					.segment_bytes = segment_bytes,
					.hugepages = hugepages,
					.threads = nthreads};
	struct beam_region *region = NULL;

	assert_int_equal(beam_region_open(&opts, &region), 0);
	return region;
}

static struct beam_region *open_region(uint64_t max_bytes, uint32_t segment_bytes)
{
	return open_region_of(max_bytes, segment_bytes, BEAM_HUGEPAGES_TRY, threads);
}

/* Grows and waits until so many slots are free, or cannot be. Returns the worst result of
 * beam_region_collect. */
static int grow(struct beam_region *region, uint32_t want_free)
{
	struct pollfd pfd = {.fd = beam_region_fd(region), .events = POLLIN};
	int err = 0;

	beam_region_grow(region, want_free);
	while (!err && beam_region_free_slots(region) < want_free) {
		assert_int_equal(poll(&pfd, 1, 20000), 1);
		err = beam_region_collect(region);
	}
	return err;
}

static void slots_are_aligned_and_apart(void **state)
{
	(void)state;
	struct beam_region *region = open_region(256 * MIB, SEGMENT);
	uint32_t slots[20];

	assert_int_equal(beam_region_take(region, slots), -EAGAIN);
	assert_int_equal(grow(region, 20), 0);
	assert_true(beam_region_free_slots(region) >= 20);
	assert_int_equal(beam_region_bytes(region), beam_region_free_slots(region) * 2 * MIB);
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(beam_region_take(region, &slots[i]), 0);
		uint8_t *at = beam_region_at(region, slots[i]);

		assert_int_equal((uintptr_t)at % SEGMENT, 0);
		memset(at, (int)i + 1, SEGMENT);
	}
	for (uint32_t i = 0; i < 20; i++) {
		uint8_t *at = beam_region_at(region, slots[i]);

		assert_int_equal(at[0], i + 1);
		assert_int_equal(at[SEGMENT - 1], i + 1);
		beam_region_give(region, slots[i]);
	}
	beam_region_close(&region);
	assert_null(region);
}

static void limit_is_never_passed(void **state)
{
	(void)state;
	struct beam_region *region = open_region(50 * MIB, 4 << 20);

	assert_int_equal(beam_region_could_hold(region, UINT64_MAX), 12);
	assert_int_equal(grow(region, 13), BEAM_E_FULL);
	assert_non_null(strstr(beam_region_error(region), "50 MiB"));
	assert_false(beam_region_growing(region));
	/* The memory that exists is offered. */
	assert_int_equal(beam_region_free_slots(region), 12);
	assert_int_equal(beam_region_bytes(region), 48 * MIB);
	assert_int_equal(beam_region_could_hold(region, UINT64_MAX), 12);
	assert_int_equal(beam_region_could_hold(region, 12), 12);
	assert_int_equal(grow(region, 13), BEAM_E_FULL);
	assert_int_equal(beam_region_bytes(region), 48 * MIB);
	assert_int_equal(grow(region, 12), 0);
	beam_region_close(&region);
}

/* If the free slots are enough, nothing else is counted. */
static void enough_is_not_asked_for(void **state)
{
	(void)state;
	struct beam_region *region = open_region(50 * MIB, 4 << 20);

	assert_int_equal(grow(region, 4), 0);
	assert_int_equal(beam_region_free_slots(region), 4);
	assert_int_equal(beam_region_could_hold(region, 4), 4);
	assert_int_equal(beam_region_could_hold(region, 5), 12);
	beam_region_close(&region);
}

static void less_than_a_segment_holds_nothing(void **state)
{
	(void)state;
	struct beam_region *region = open_region(SEGMENT - 1, SEGMENT);

	assert_int_equal(beam_region_could_hold(region, UINT64_MAX), 0);
	assert_int_equal(grow(region, 1), BEAM_E_FULL);
	assert_int_equal(beam_region_bytes(region), 0);
	beam_region_close(&region);
}

static void first_slots_come_before_the_last(void **state)
{
	(void)state;
	struct beam_region *region = open_region_of(0, SEGMENT, BEAM_HUGEPAGES_TRY, 1);
	struct pollfd pfd = {.fd = beam_region_fd(region), .events = POLLIN};

	beam_region_grow(region, 128);
	assert_true(beam_region_growing(region));
	assert_int_equal(poll(&pfd, 1, 20000), 1);
	assert_int_equal(beam_region_collect(region), 0);
	assert_in_range(beam_region_free_slots(region), 1, 127);
	while (beam_region_free_slots(region) < 128) {
		assert_int_equal(poll(&pfd, 1, 20000), 1);
		assert_int_equal(beam_region_collect(region), 0);
	}
	assert_true(beam_region_extents(region) > 1);
	beam_region_close(&region);
}

static void memory_is_resident_and_sealed(void **state)
{
	(void)state;
	/* No huge pages: others take from the pool, too, which makes extents smaller. And one
	 * thread: several finish in any order. */
	struct beam_region *region = open_region_of(64 * MIB, SEGMENT, BEAM_HUGEPAGES_NO, 1);
	unsigned char *resident = malloc(32 * MIB / 4096);
	struct stat st;
	void *base;
	uint64_t bytes;
	int fd;

	assert_non_null(resident);
	assert_int_equal(grow(region, 16), 0);
	/* The first extent is small, because somebody waits for it; the second is the rest. */
	assert_true(beam_region_extent(region, 0, &fd, &base, &bytes));
	assert_int_equal(bytes, 4 * SEGMENT);
	assert_true(beam_region_extent(region, 1, &fd, &base, &bytes));
	assert_int_equal(bytes, 12 * SEGMENT);
	assert_false(beam_region_extent(region, 2, &fd, &base, &bytes));
	assert_true(beam_region_extent(region, 1, &fd, &base, &bytes));
	assert_int_equal(mincore(base, bytes, resident), 0);
	for (uint64_t i = 0; i < bytes / 4096; i++)
		assert_true(resident[i] & 1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, bytes);
	assert_int_equal((uint64_t)st.st_blocks * 512, bytes);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, (off_t)(2 * bytes)), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	free(resident);
	beam_region_close(&region);
}

static void trim_keeps_what_is_held(void **state)
{
	(void)state;
	struct beam_region *region = open_region(256 * MIB, SEGMENT);
	uint32_t slot, other;

	assert_int_equal(grow(region, 64), 0);
	uint32_t extents = beam_region_extents(region);

	assert_true(extents >= 2);
	assert_int_equal(beam_region_take(region, &slot), 0);
	memset(beam_region_at(region, slot), 7, SEGMENT);
	beam_region_trim(region, 0);
	assert_int_equal(beam_region_extents(region), BEAM_SLOT_EXTENT(slot) + 1);
	assert_int_equal(*(uint8_t *)beam_region_at(region, slot), 7);
	/* A number is not reused soon for other memory. */
	while (beam_region_take(region, &other) == 0)
		;
	assert_int_equal(grow(region, 1), 0);
	assert_int_equal(beam_region_take(region, &other), 0);
	assert_true(BEAM_SLOT_EXTENT(other) >= extents);
	beam_region_close(&region);
}

static void trim_keeps_what_is_asked_for(void **state)
{
	(void)state;
	struct beam_region *region = open_region(256 * MIB, SEGMENT);

	assert_int_equal(grow(region, 96), 0);
	beam_region_trim(region, 96);
	assert_int_equal(beam_region_free_slots(region), 96);
	beam_region_trim(region, 20);
	assert_in_range(beam_region_free_slots(region), 20, 60);
	beam_region_trim(region, 0);
	assert_int_equal(beam_region_free_slots(region), 0);
	beam_region_close(&region);
}

static void trimmed_memory_counts_no_more(void **state)
{
	(void)state;
	struct beam_region *region = open_region(64 * MIB, SEGMENT);

	for (int i = 0; i < 5; i++) {
		assert_int_equal(grow(region, 32), 0);
		assert_int_equal(beam_region_bytes(region), 64 * MIB);
		beam_region_trim(region, 0);
		assert_int_equal(beam_region_bytes(region), 0);
		assert_int_equal(beam_region_free_slots(region), 0);
		assert_int_equal(beam_region_extents(region), 0);
	}
	beam_region_close(&region);
}

/* A pull on this host has opened it, and may be stopped. */
static void trimmed_memory_is_freed_whoever_has_its_file(void **state)
{
	(void)state;
	struct beam_region *region = open_region(64 * MIB, SEGMENT);
	struct stat st;
	void *base;
	uint64_t bytes;
	int fd;

	assert_int_equal(grow(region, 32), 0);
	assert_true(beam_region_extent(region, 0, &fd, &base, &bytes));
	fd = dup(fd);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_blocks > 0);
	beam_region_trim(region, 0);
	assert_int_equal(grow(region, 32), 0); /* so it is gone */
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	close(fd);
	beam_region_close(&region);
}

static void segment_size_changes_when_empty(void **state)
{
	(void)state;
	struct beam_region *region = open_region(64 * MIB, SEGMENT);
	struct beam_region_opts opts = {.max_bytes = 64 * MIB, .segment_bytes = 8 << 20};
	uint32_t slot;

	assert_int_equal(grow(region, 1), 0);
	assert_int_equal(beam_region_take(region, &slot), 0);
	assert_int_equal(beam_region_configure(region, &opts), -EBUSY);
	beam_region_give(region, slot);
	beam_region_grow(region, 32); /* of the old size: must not appear */
	assert_int_equal(beam_region_configure(region, &opts), 0);
	assert_int_equal(grow(region, 8), 0);
	assert_int_equal(beam_region_free_slots(region), 8);
	assert_int_equal(beam_region_bytes(region), 64 * MIB);
	opts.segment_bytes = SEGMENT + 4096;
	assert_int_equal(beam_region_configure(region, &opts), -EINVAL);
	beam_region_close(&region);
}

static void largest_segments_fit_an_extent(void **state)
{
	(void)state;
	struct beam_region *region = open_region(BEAM_SEGMENT_MAX + 8 * MIB, BEAM_SEGMENT_MAX);
	uint32_t slot;

	assert_int_equal(grow(region, 2), BEAM_E_FULL);
	assert_int_equal(beam_region_free_slots(region), 1);
	assert_int_equal(beam_region_take(region, &slot), 0);
	((uint8_t *)beam_region_at(region, slot))[BEAM_SEGMENT_MAX - 1] = 1;
	beam_region_close(&region);
}

/* Whether this kernel makes huge pages of a memfd where nobody has allowed them: from Linux 6.1 on, unless they are
 * denied. */
static bool collapses(void)
{
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
	char text[128] = "";
	bool could = false;

	if (!file)
		return false;
	bool read = fgets(text, sizeof(text), file);

	fclose(file);
	int fd = memfd_create("collapsed", MFD_CLOEXEC);
	uint8_t *at = NULL;

	assert_true(fd >= 0 && !ftruncate(fd, 2 * MIB));
	assert_int_equal(beam_extent_map(fd, 2 * MIB, &at), 0);
	at[0] = 1;
	could = read && strstr(text, "[never]") && !madvise(at, 2 * MIB, 25 /* MADV_COLLAPSE */);
	munmap(at, 2 * MIB);
	close(fd);
	return could;
}

/* A region of free memory in small pages, which were taken because huge ones were slow. */
static struct beam_region *open_spared(void)
{
	struct beam_region *region = open_region(0, SEGMENT);

	atomic_store(&slow, true);
	atomic_store(&no_pool, true);
	assert_int_equal(grow(region, 72), 0);
	/* The first piece of each thread may be huge: nobody knows yet what it costs. */
	assert_int_equal(grow(region, 144), 0);
	atomic_store(&slow, false);
	beam_region_enough(region);
	while (beam_region_growing(region))
		sched_yield();
	beam_region_collect(region);
	return region;
}

static void close_spared(struct beam_region *region)
{
	atomic_store(&slow, false);
	atomic_store(&no_pool, false);
	beam_region_close(&region);
}

/* Small pages that were taken because huge ones were slow are replaced when there is time. */
static void slow_pages_are_spared_until_there_is_time(void **state)
{
	(void)state;
	if (!collapses())
		skip();
	struct beam_region *region = open_spared();
	struct pollfd pfd = {.fd = beam_region_fd(region), .events = POLLIN};
	uint32_t nfree = beam_region_free_slots(region);
	uint64_t bytes = beam_region_bytes(region);

	beam_region_renew(region);
	assert_true(beam_region_growing(region));
	while (beam_region_free_slots(region) < nfree) {
		assert_int_equal(poll(&pfd, 1, 20000), 1);
		assert_int_equal(beam_region_collect(region), 0);
	}
	assert_true(beam_region_bytes(region) >= bytes);
	beam_region_renew(region);
	assert_false(beam_region_growing(region));
	close_spared(region);
}

static bool maps_extents(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		found |= strstr(line, "memfd:rdbeam") != NULL;
	fclose(maps);
	return found;
}

/* The retention may end while small pages are being replaced: then nothing comes back. */
static void memory_given_back_is_not_made_again(void **state)
{
	(void)state;
	if (!collapses())
		skip();
	struct beam_region *region = open_spared();
	uint64_t deadline = beam_now_ms() + 20000;

	beam_region_renew(region);
	beam_region_trim(region, 0);
	while (beam_region_growing(region) || maps_extents()) {
		assert_true(beam_now_ms() < deadline);
		sched_yield();
	}
	assert_int_equal(beam_region_collect(region), 0);
	assert_int_equal(beam_region_bytes(region), 0);
	/* A save is not kept waiting by what was cancelled. */
	assert_int_equal(grow(region, 8), 0);
	close_spared(region);
}

/* What replaces small pages is asked for by nobody, so nobody hears that there is no room for it. */
static void replacing_pages_fails_silently(void **state)
{
	(void)state;
	if (!collapses())
		skip();
	struct beam_region *region = open_spared();
	struct beam_region_opts opts = {.max_bytes = 16 * MIB, .segment_bytes = SEGMENT};

	uint64_t before = beam_region_bytes(region);

	assert_int_equal(beam_region_configure(region, &opts), 0);
	beam_region_renew(region);
	while (beam_region_growing(region))
		sched_yield();
	assert_int_equal(beam_region_collect(region), 0);
	assert_string_equal(beam_region_error(region), "");
	assert_true(beam_region_bytes(region) < before);
	close_spared(region);
}

/* Memory that is being freed is room for more: an image must not be given up for it. */
static void room_of_trimmed_memory_is_there_at_once(void **state)
{
	(void)state;
	struct beam_region *region = open_region(256 * MIB, SEGMENT);

	assert_int_equal(grow(region, 128), 0);
	beam_region_trim(region, 0);
	assert_int_equal(beam_region_could_hold(region, UINT64_MAX), 128);
	assert_int_equal(grow(region, 128), 0);
	beam_region_close(&region);
}

static void close_stops_a_growth(void **state)
{
	(void)state;
	struct beam_region *region = open_region(0, SEGMENT);

	beam_region_grow(region, 2000);
	beam_region_close(&region);
	assert_null(region);
}

/* Uses the machine's own pool: if it is empty, `require` must fail and `try` must continue. Others
 * may take pages meanwhile, so the test compares with what was free before and after. */
static void hugepages_are_had_or_said_to_be_missing(void **state)
{
	(void)state;
	struct beam_region_opts opts = {.segment_bytes = SEGMENT,
					.hugepages = BEAM_HUGEPAGES_REQUIRE,
					.max_bytes = 64 * MIB,
					.threads = threads};
	struct beam_region *region = NULL;
	uint64_t before = beam_memory_hugetlb_free();

	assert_int_equal(beam_region_open(&opts, &region), 0);
	int err = grow(region, 16);
	uint64_t after = beam_memory_hugetlb_free(), got = beam_region_bytes(region);

	if (before == 0 && after == 0)
		assert_int_equal(err, BEAM_E_UNSUPPORTED);
	if (before >= 32 * MIB && after > 0)
		assert_int_equal(err, 0);
	if (err == BEAM_E_UNSUPPORTED)
		assert_non_null(strstr(beam_region_error(region), "nr_hugepages"));
	else
		assert_int_equal(beam_region_page_bytes(region), 2 * MIB);
	if (err == 0)
		assert_true(got >= 32 * MIB);
	else
		assert_in_range(got, err == BEAM_E_UNSUPPORTED ? 0 : 2 * MIB,
				err == BEAM_E_UNSUPPORTED ? 0 : 30 * MIB);
	opts.hugepages = BEAM_HUGEPAGES_TRY;
	assert_int_equal(beam_region_configure(region, &opts), 0);
	assert_int_equal(grow(region, 32), 0);
	assert_int_equal(beam_region_bytes(region), 64 * MIB);
	for (uint32_t slot; beam_region_take(region, &slot) == 0;)
		memset(beam_region_at(region, slot), 1, SEGMENT);
	beam_region_close(&region);
}

/* Many growths and cancellations that overlap: the limit holds, and no growth is lost. */
static void growths_cross(void **state)
{
	(void)state;
	struct beam_region *region = open_region(96 * MIB, SEGMENT);

	for (uint32_t i = 0; i < 40; i++) {
		beam_region_grow(region, 8 + 11 * i % 40);
		if (i % 3 == 0)
			beam_region_enough(region);
		if (i % 5 == 0)
			beam_region_collect(region);
		if (i % 7 == 0)
			beam_region_trim(region, 0);
		assert_int_equal(grow(region, 1 + 7 * i % 30), 0);
		assert_true(beam_region_bytes(region) <= 96 * MIB);
	}
	beam_region_trim(region, 0);
	assert_int_equal(grow(region, 48), 0);
	assert_int_equal(beam_region_bytes(region), 96 * MIB);
	assert_int_equal(grow(region, 49), BEAM_E_FULL);
	beam_region_close(&region);
}

static void available_memory_is_believable(void **state)
{
	(void)state;
	uint64_t available = beam_memory_available();
	uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);

	assert_in_range(available, MIB, pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* A control group's files in a directory of our own, as the kernel has them (NULL: missing). */
static void make_group(const char *dir, const char *max, const char *high, const char *usage)
{
	const char *const names[] = {"memory.max", "memory.high", "memory.current", "memory.stat"};
	const char *const texts[] = {max, high, usage,
				     "anon 5\ninactive_file 1048576\nactive_file 3145728\n"};
	char path[200];

	assert_true(mkdir(dir, 0700) == 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		FILE *file = texts[i] ? fopen(path, "w") : NULL;

		assert_true(!texts[i] || (file && fputs(texts[i], file) >= 0 && !fclose(file)));
	}
}

static struct beam_memory_left left_in(const char *root, const char *groups)
{
	struct beam_memory_left left = {.bytes = 1ull << 40};

	beam_memory_in_groups(root, groups, &left);
	return left;
}

/* Of the groups above a process the one that leaves least counts, by memory.max or memory.high. */
static void limits_of_groups_are_kept(void **state)
{
	char root[] = "/tmp/rdbeam-groups.XXXXXX", dir[100], command[100];
	struct beam_memory_left left;

	(void)state;
	assert_non_null(mkdtemp(root));
	snprintf(dir, sizeof(dir), "%s/slice", root);
	make_group(dir, "max\n", "max\n", "209715200\n");
	snprintf(dir, sizeof(dir), "%s/slice/max", root);
	make_group(dir, "419430400\n", "max\n", "109051904\n"); /* 104 of 400 MiB, 4 of it cache */
	snprintf(dir, sizeof(dir), "%s/slice/high", root);
	make_group(dir, "419430400\n", "209715200\n", "201326592\n");
	snprintf(dir, sizeof(dir), "%s/slice/above", root);
	make_group(dir, NULL, "104857600\n", "201326592\n");

	left = left_in(root, "1:name=systemd:/\n0::/slice\n");
	assert_int_equal(left.bytes, 1ull << 40);
	assert_int_equal(left.group_limit, 0);
	left = left_in(root, "0::/slice/max\n");
	assert_int_equal(left.bytes, 300 * MIB);
	assert_int_equal(left.group_limit, 400 * MIB);
	assert_false(left.is_near || left.is_short);
	left = left_in(root, "0::/slice/high\n");
	assert_int_equal(left.bytes, 12 * MIB);
	assert_int_equal(left.group_limit, 200 * MIB);
	assert_true(left.is_near && left.is_short);
	left = left_in(root, "0::/slice/above\n");
	assert_int_equal(left.bytes, 0);
	snprintf(command, sizeof(command), "rm -r %s", root);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(slots_are_aligned_and_apart),
	    cmocka_unit_test(limit_is_never_passed),
	    cmocka_unit_test(enough_is_not_asked_for),
	    cmocka_unit_test(less_than_a_segment_holds_nothing),
	    cmocka_unit_test(first_slots_come_before_the_last),
	    cmocka_unit_test(memory_is_resident_and_sealed),
	    cmocka_unit_test(trim_keeps_what_is_held),
	    cmocka_unit_test(trim_keeps_what_is_asked_for),
	    cmocka_unit_test(trimmed_memory_counts_no_more),
	    cmocka_unit_test(trimmed_memory_is_freed_whoever_has_its_file),
	    cmocka_unit_test(segment_size_changes_when_empty),
	    cmocka_unit_test(largest_segments_fit_an_extent),
	    cmocka_unit_test(slow_pages_are_spared_until_there_is_time),
	    cmocka_unit_test(memory_given_back_is_not_made_again),
	    cmocka_unit_test(replacing_pages_fails_silently),
	    cmocka_unit_test(room_of_trimmed_memory_is_there_at_once),
	    cmocka_unit_test(close_stops_a_growth),
	    cmocka_unit_test(hugepages_are_had_or_said_to_be_missing),
	    cmocka_unit_test(growths_cross),
	    cmocka_unit_test(available_memory_is_believable),
	    cmocka_unit_test(limits_of_groups_are_kept),
	};

	threads = 1;
	int failed = cmocka_run_group_tests_name("one thread", tests, NULL, NULL);

	threads = 4;
	return failed + cmocka_run_group_tests_name("four threads", tests, NULL, NULL);
}
