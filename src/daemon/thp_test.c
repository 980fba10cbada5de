/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The self-test of rdbeam.fork-thp. It runs in a small process, because in the server the fork
 * alone would cost what the test is to save. Two huge pages are shared with a child, parent and
 * child write one byte each, and /proc/self/smaps tells how much of the memory was copied for each.
 */
#include "thp_test.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* since Linux 6.1 */
#endif

#define HUGE_BYTES  (2u << 20)
#define MOST_COPIED (64u << 10) /* a write may copy a few small pages, but not a huge one */

/* Value of `field` in /proc/self/smaps for the mapping at `base`, in bytes; -1 if it is not
 * there. */
static int64_t smaps_bytes(const uint8_t *base, const char *field)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	int64_t found = -1;
	char line[512];
	bool ours = false;

	while (smaps && fgets(line, sizeof(line), smaps)) {
		size_t len = strlen(field);
		uint64_t from, to;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			ours = from <= (uintptr_t)base && (uintptr_t)base < to;
		else if (ours && !strncmp(line, field, len) && line[len] == ':')
			found = strtoll(line + len + 1, NULL, 10) << 10;
	}
	if (smaps)
		fclose(smaps);
	return found;
}

/* Maps two huge pages of its own; returns NULL on failure. */
static uint8_t *map_huge(void)
{
	uint8_t *range = mmap(NULL, 4 * HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (range == MAP_FAILED)
		return NULL;
	uint8_t *at = range + HUGE_BYTES - ((uintptr_t)range & (HUGE_BYTES - 1));

	if (mprotect(at, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE) ||
	    madvise(at, 2 * HUGE_BYTES, MADV_HUGEPAGE))
		return NULL;
	memset(at, 1, 2 * HUGE_BYTES);
	/* If memory is fragmented, the first touch does not give huge pages. */
	if (smaps_bytes(at, "AnonHugePages") < 2 * HUGE_BYTES)
		(void)madvise(at, 2 * HUGE_BYTES, MADV_COLLAPSE);
	return at;
}

/* Writes one byte while another process shares the memory, and checks how much that copies. */
static bool copies_little(uint8_t *base, uint32_t page)
{
	int64_t before = smaps_bytes(base, "Private_Dirty");

	*(volatile uint8_t *)(base + (size_t)page * HUGE_BYTES + 12345) = 2;
	int64_t after = smaps_bytes(base, "Private_Dirty");

	return before >= 0 && after > before && after - before <= MOST_COPIED;
}

int thp_test_main(void)
{
	uint8_t *base = BEAM_FAULT("thp.pages") ? NULL : map_huge();
	int status = 0, done[2];
	char byte;

	if (!base || smaps_bytes(base, "AnonHugePages") < 2 * HUGE_BYTES)
		return THP_TEST_NO_PAGES;
	if (pipe(done))
		return THP_TEST_ERROR;
	pid_t pid = fork();

	if (pid < 0)
		return THP_TEST_ERROR;
	if (pid == 0) {
		bool good = copies_little(base, 0);

		/* Stay until the parent has written its byte: memory that is not shared is not
		 * copied. */
		close(done[1]);
		(void)!read(done[0], &byte, 1);
		_exit(good ? THP_TEST_GOOD : THP_TEST_COPIES_ALL);
	}
	bool good = copies_little(base, 1) && !BEAM_FAULT("thp.copies");

	close(done[1]);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return THP_TEST_ERROR;
	return good ? WEXITSTATUS(status) : THP_TEST_COPIES_ALL;
}
