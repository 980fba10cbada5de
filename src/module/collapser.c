/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Collapses the heap's small pages into huge ones.
 *
 * Each pass marks the whole heap with MADV_HUGEPAGE, then walks it in steps of 2 MiB: what is
 * mostly in use and in small pages is collapsed with MADV_COLLAPSE. That call may take long,
 * because it waits for every processor to drain its per-CPU lists of pages, and for memory
 * compaction. While the pages are copied, a fraction of a millisecond, page faults and forks of the
 * server wait.
 *
 * Therefore each call collapses one huge page, with pauses in which the server has its processor
 * and its page tables to itself. The thread runs at the server's own priority: one that is not
 * scheduled while it holds what the server waits for would stop the server.
 */
#include "collapser.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "heap_map.h"
#include "sockets.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* since Linux 6.1 */
#endif

#define PAGE_BYTES    4096
#define IN_MEMORY_BIT 63 /* of an entry in /proc/PID/pagemap */
#define HUGE_PAGES    512
#define ENOUGH_PAGES  448 /* of 512 in use: collapsing costs an eighth of the memory at most */
#define BLOCK_PAGES   32  /* huge pages examined by one call */
#define PAUSES        3   /* pause in multiples of the CPU time spent: at most a quarter of a CPU */
#define PAUSE_US      1000
#define PASS_US       5000000
#define SHORT_US      60000000 /* after the kernel had no memory for a huge page */
#define RANGES_MAX    4096

/* The arguments of PAGEMAP_SCAN (Linux 6.7, Documentation/admin-guide/mm/pagemap.rst). */
struct pages_found {
	uint64_t from, to, categories;
};

struct pages_wanted {
	uint64_t size, flags, from, to, walked_to, found, nfound, max_pages, inverted, all_of,
	    any_of, tell;
};

_Static_assert(sizeof(struct pages_wanted) == 96, "the kernel's size");

#define SCAN_PAGES   _IOWR('f', 16, struct pages_wanted)
#define PAGE_IS_HUGE (1u << 6)

struct beam_collapser {
	pthread_t thread;
	int wake;    /* eventfd: `rests` or `ends` has changed */
	int pagemap; /* -1: no /proc/self/pagemap */
	atomic_bool rests, ends;
	atomic_int refused;
	_Atomic uint64_t bytes;
	/* used by the thread only */
	bool tells; /* the kernel has PAGEMAP_SCAN, and so tells which pages are huge */
	uint32_t nranges;
	struct beam_heap_range ranges[RANGES_MAX];
};

/* ---- on the thread -------------------------------------------------------------------------- */

static bool may_go_on(struct beam_collapser *c)
{
	return !atomic_load(&c->rests) && !atomic_load(&c->ends);
}

/* Sleeps, unless an order arrives earlier; us < 0: until one arrives. */
static void pause_us(struct beam_collapser *c, int64_t us)
{
	struct pollfd order = {.fd = c->wake, .events = POLLIN};
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	uint64_t count;

	if (ppoll(&order, 1, us < 0 ? NULL : &time, NULL) == 1 &&
	    read(c->wake, &count, sizeof(count)) < 0)
		errno = 0;
}

/* Finds the huge pages within a block. Returns the number of ranges, or -1 if the kernel has no
 * PAGEMAP_SCAN. */
static int scan(const struct beam_collapser *c, uint64_t from, uint64_t to,
		struct pages_found found[BLOCK_PAGES])
{
	struct pages_wanted wanted = {
	    .size = sizeof(wanted),
	    .from = from,
	    .to = to,
	    .found = (uint64_t)(uintptr_t)found,
	    .nfound = BLOCK_PAGES,
	    .all_of = PAGE_IS_HUGE,
	    .tell = PAGE_IS_HUGE,
	};

	return c->pagemap < 0 ? -1 : ioctl(c->pagemap, SCAN_PAGES, &wanted);
}

/* One bit for each huge page of a block; 0 if the kernel does not tell. */
static uint32_t which_are_huge(const struct beam_collapser *c, uint64_t from, uint64_t to)
{
	struct pages_found found[BLOCK_PAGES];
	int n = scan(c, from, to, found);
	uint32_t bits = 0;

	for (int i = 0; i < n; i++)
		for (uint64_t at = found[i].from; at < found[i].to; at += BEAM_HUGE_BYTES)
			bits |= 1u << (at - from) / BEAM_HUGE_BYTES;
	return bits;
}

/* Does not use mincore(): the seccomp filter of Debian's units kills a server that calls it. */
static bool mostly_used(const struct beam_collapser *c, uint64_t at)
{
	uint64_t pages[HUGE_PAGES];
	uint32_t used = 0;

	if (pread(c->pagemap, pages, sizeof(pages), (off_t)(at / PAGE_BYTES * sizeof(*pages))) !=
	    sizeof(pages))
		return false;
	for (uint32_t i = 0; i < HUGE_PAGES; i++)
		used += pages[i] >> IN_MEMORY_BIT & 1;
	return used >= ENOUGH_PAGES;
}

static int collapse(struct beam_collapser *c, uint64_t at)
{
	int err = madvise((void *)(uintptr_t)at, BEAM_HUGE_BYTES, MADV_COLLAPSE) ? -errno : 0;

	/* EAGAIN: a page is in use elsewhere; the next pass tries again. */
	if (err && err != -EAGAIN)
		atomic_store(&c->refused, -err);
	return err;
}

/* There is no free huge page, or the cgroup is at its limit. Every further attempt would make the
 * kernel search in vain. */
static bool is_short(int err)
{
	return err == -ENOMEM || err == -EBUSY;
}

/* Collapses the page at `at` if it is mostly used. Returns 0 if it is huge now. The pause depends
 * on the CPU time that the call used, not on how long it took: on a busy machine it mostly waits,
 * and takes nothing from anybody meanwhile. */
static int mend(struct beam_collapser *c, uint64_t at)
{
	int err;

	if (!mostly_used(c, at))
		return -EAGAIN;
	uint64_t before_us = beam_cpu_ns() / 1000;

	err = collapse(c, at);
	if (!err && c->tells)
		atomic_fetch_add(&c->bytes, BEAM_HUGE_BYTES);
	pause_us(c, (int64_t)(PAUSES * (beam_cpu_ns() / 1000 - before_us)) + PAUSE_US);
	return err;
}

static int mend_block(struct beam_collapser *c, uint64_t from, uint64_t to, uint64_t *bytes)
{
	uint32_t huge = which_are_huge(c, from, to);
	int err = 0;

	for (uint64_t at = from; at < to && !is_short(err); at += BEAM_HUGE_BYTES, huge >>= 1) {
		if (!may_go_on(c))
			return -ECANCELED;
		err = huge & 1 ? 0 : mend(c, at);
		*bytes += err ? 0 : BEAM_HUGE_BYTES;
	}
	return is_short(err) ? err : 0;
}

static int survey_block(struct beam_collapser *c, uint64_t from, uint64_t to, uint64_t *bytes)
{
	*bytes += BEAM_HUGE_BYTES * (uint64_t)__builtin_popcount(which_are_huge(c, from, to));
	return 0;
}

/* Calls fn for each block of the heap until it returns nonzero. */
static int each_block(struct beam_collapser *c, uint64_t *bytes,
		      int (*fn)(struct beam_collapser *, uint64_t, uint64_t, uint64_t *))
{
	const uint64_t most = BLOCK_PAGES * BEAM_HUGE_BYTES;
	int err = 0;

	*bytes = 0;
	for (uint32_t i = 0; i < c->nranges; i++) {
		const struct beam_heap_range *range = &c->ranges[i];

		for (uint64_t at = range->from; at < range->to && !err; at += most)
			err = fn(c, at, range->to - at < most ? range->to : at + most, bytes);
	}
	return err;
}

/* Runs one pass, and returns how long to sleep before the next, in microseconds. With PAGEMAP_SCAN,
 * INFO's figure is updated page by page, otherwise at the end of a complete pass. */
static int64_t pass(struct beam_collapser *c)
{
	struct pages_found found[BLOCK_PAGES];
	uint64_t bytes;
	int err;

	c->nranges = beam_heap_find(c->ranges, RANGES_MAX);
	beam_heap_advise(c->ranges, c->nranges, MADV_HUGEPAGE);
	c->tells = c->nranges &&
		   scan(c, c->ranges[0].from, c->ranges[0].from + BEAM_HUGE_BYTES, found) >= 0;
	each_block(c, &bytes, survey_block);
	if (c->tells)
		atomic_store(&c->bytes, bytes);
	err = each_block(c, &bytes, mend_block);
	if (!err)
		atomic_store(&c->bytes, bytes);
	return is_short(err) ? SHORT_US : PASS_US;
}

static void *run(void *arg)
{
	struct beam_collapser *c = arg;

	prctl(PR_SET_NAME, "rdbeam-thp");
	while (!atomic_load(&c->ends)) {
		int64_t us = atomic_load(&c->rests) ? -1 : pass(c);

		pause_us(c, us);
	}
	return NULL;
}

/* ---- on the main thread --------------------------------------------------------------------- */

static int start(struct beam_collapser *c, const cpu_set_t *cpus)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int err;

	pthread_attr_init(&attr);
	if (cpus)
		pthread_attr_setaffinity_np(&attr, sizeof(*cpus), cpus);
	/* Signals are to be delivered to the server's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&c->thread, &attr, run, c);
	if (err == -EINVAL && cpus) /* these CPUs may have been removed from the cgroup */
		err = -pthread_create(&c->thread, NULL, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

int beam_collapser_open(const cpu_set_t *cpus, bool rests, struct beam_collapser **out)
{
	struct beam_collapser *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	atomic_init(&c->rests, rests);
	c->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = c->wake < 0 ? -errno : start(c, cpus);
	if (err) {
		beam_close(&c->wake);
		beam_close(&c->pagemap);
		free(c);
		return err;
	}
	*out = c;
	return 0;
}

static void order(struct beam_collapser *c, atomic_bool *what, bool yes)
{
	uint64_t one = 1;

	atomic_store(what, yes);
	/* The write fails only if the counter is full, and then the thread wakes up anyway. */
	if (write(c->wake, &one, sizeof(one)) < 0)
		errno = 0;
}

void beam_collapser_close(struct beam_collapser **collapser)
{
	struct beam_collapser *c = *collapser;

	if (!c)
		return;
	order(c, &c->ends, true);
	pthread_join(c->thread, NULL);
	beam_close(&c->wake);
	beam_close(&c->pagemap);
	free(c);
	*collapser = NULL;
}

void beam_collapser_rest(struct beam_collapser *c, bool rests)
{
	if (atomic_load(&c->rests) != rests)
		order(c, &c->rests, rests);
}

uint64_t beam_collapser_bytes(const struct beam_collapser *c)
{
	return atomic_load(&c->bytes);
}

int beam_collapser_refused(const struct beam_collapser *c)
{
	return atomic_load(&c->refused);
}
