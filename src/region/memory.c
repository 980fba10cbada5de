/* SPDX-License-Identifier: BSD-3-Clause
 * Reads /proc/meminfo, the control groups and the hugetlb counters. Allocating shared memory that
 * does not exist does not fail, but wakes the OOM killer. So the region looks here before it faults
 * in memory. */
#include "memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "sockets.h"

#define HUGE_BYTES     (2ull << 20)
#define NO_LIMIT_BYTES (1ull << 62) /* version 1 has "no limit" as a number about twice as large */

/* Where each version of control groups keeps what is read here. */
struct cgroup_layout {
	const char *tag; /* of the line in /proc/self/cgroup, between the colons */
	const char *root;
	const char *limit, *throttle, *usage;
	const char *cache, *warm_cache; /* as memory.stat names it */
};

static const struct cgroup_layout layouts[] = {
    {"::", "", "memory.max", "memory.high", "memory.current", "\ninactive_file ", "\nactive_file "},
    {":memory:", "/memory", "memory.limit_in_bytes", "", "memory.usage_in_bytes",
     "\ntotal_inactive_file ", "\ntotal_active_file "},
};

/* Reads all of a small text file, NUL-terminated. False if there is none. */
static bool read_text(const char *path, char *text, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	if (fd < 0)
		return false;
	while (len < cap - 1) {
		ssize_t n = read(fd, text + len, cap - 1 - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	text[len] = 0;
	beam_close(&fd);
	return len > 0;
}

/* The number after `key` in `text`; `none` if the key is not there. */
static uint64_t number_after(const char *text, const char *key, uint64_t none)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : none;
}

static uint64_t read_number(const char *dir, const char *file, uint64_t none)
{
	char path[4400], text[64];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	if (!read_text(path, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
		return none; /* "max" means no limit */
	return strtoull(text, NULL, 10);
}

/* "Short" is what a save may not take (beam_region_room), and no more than a server can grow by in
 * two seconds. */
#define SHORT_BYTES (1ull << 30)
#define NEAR_BYTES  (8 * SHORT_BYTES)

static void judge(struct beam_memory_left *left, uint64_t room, uint64_t limit)
{
	left->is_near |= room < NEAR_BYTES && room < limit / 4;
	left->is_short |= room < SHORT_BYTES && room < limit / 16;
}

/* What one group leaves. Its page cache counts as free, as in MemAvailable, even if it was read
 * more than once: the kernel reclaims it before it kills anybody. Above memory.high all processes
 * of the group are slowed down, the server first of all, so that counts as a limit as well. */
static void look_at_group(const struct cgroup_layout *layout, const char *dir,
			  struct beam_memory_left *left)
{
	uint64_t limit = read_number(dir, layout->limit, UINT64_MAX);
	uint64_t high = *layout->throttle ? read_number(dir, layout->throttle, UINT64_MAX) : limit;
	uint64_t usage = read_number(dir, layout->usage, 0);
	char path[4400], text[8192];

	limit = high < limit ? high : limit;
	if (limit >= NO_LIMIT_BYTES)
		return;
	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	if (read_text(path, text, sizeof(text))) {
		uint64_t cache = number_after(text, layout->cache, 0) +
				 number_after(text, layout->warm_cache, 0);

		usage = usage > cache ? usage - cache : 0;
	}
	uint64_t room = limit > usage ? limit - usage : 0;

	judge(left, room, limit);
	if (room < left->bytes) {
		left->bytes = room;
		left->group_limit = limit;
	}
}

/* Looks at all groups of `layout`, from the process's own up to the root. */
static void look_at_groups(const struct cgroup_layout *layout, const char *root, const char *groups,
			   struct beam_memory_left *left)
{
	const char *line = strstr(groups, layout->tag);
	char dir[4300];

	if (!line)
		return;
	line += strlen(layout->tag);
	int len = (int)strcspn(line, "\n");
	size_t top = strlen(root) + strlen(layout->root);

	if (snprintf(dir, sizeof(dir), "%s%s%.*s", root, layout->root, len, line) >=
	    (int)sizeof(dir))
		return;
	for (;;) {
		char *slash = strrchr(dir, '/');

		look_at_group(layout, dir, left);
		if (strlen(dir) <= top || !slash || (size_t)(slash - dir) < top)
			return;
		*slash = 0;
	}
}

void beam_memory_in_groups(const char *root, const char *groups, struct beam_memory_left *left)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		look_at_groups(&layouts[i], root, groups, left);
}

/* Used where /proc shows nothing but processes (ProcSubset=pid of a systemd unit). Does not count
 * the page cache, so it is less than could be used. */
static uint64_t free_memory(void)
{
	struct sysinfo info;

	return sysinfo(&info) ? 0 : ((uint64_t)info.freeram + info.bufferram) * info.mem_unit;
}

void beam_memory_look(pid_t pid, struct beam_memory_left *left)
{
	char path[64] = "/proc/self/cgroup", text[8192];

	*left = (struct beam_memory_left){0};
	if (read_text("/proc/meminfo", text, sizeof(text))) {
		left->bytes = number_after(text, "\nMemAvailable:", 0) << 10;
		judge(left, left->bytes, number_after(text, "MemTotal:", 0) << 10);
	} else {
		left->bytes = free_memory(); /* a low value does not mean short of memory */
	}
	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (read_text(path, text, sizeof(text)))
		beam_memory_in_groups("/sys/fs/cgroup", text, left);
}

uint64_t beam_memory_available(void)
{
	struct beam_memory_left left;

	beam_memory_look(0, &left);
	return left.bytes;
}

uint64_t beam_memory_hugetlb_free(void)
{
	static const char dir[] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	uint64_t pages = read_number(dir, "free_hugepages", 0);
	uint64_t reserved = read_number(dir, "resv_hugepages", 0);
	uint64_t overcommit = read_number(dir, "nr_overcommit_hugepages", 0);
	uint64_t surplus = read_number(dir, "surplus_hugepages", 0);

	pages += overcommit > surplus ? overcommit - surplus : 0;
	return pages > reserved ? (pages - reserved) * HUGE_BYTES : 0;
}
