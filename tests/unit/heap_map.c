/* SPDX-License-Identifier: BSD-3-Clause
 * Which mappings count as heap, and that this process's own are found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "heap_map.h"

#define RANGES 4096

static void heap_is_anonymous_private_and_writable(void **state)
{
	static const struct {
		const char *line;
		bool heap;
	} lines[] = {
	    {"7f0000100000-7f0000700000 rw-p 00000000 00:00 0 ", true},
	    {"7f0000100000-7f0000700000 rw-p 00000000 00:00 0    [heap]", true},
	    {"7f0000100000-7f0000700000 rw-p 00000000 00:00 0    [stack]", false},
	    {"7f0000100000-7f0000700000 rw-p 00000000 00:00 0    [anon: arena]", false},
	    {"7f0000100000-7f0000700000 r--p 00000000 00:00 0 ", false},
	    {"7f0000100000-7f0000700000 rw-s 00000000 00:01 2049   /memfd:region (deleted)", false},
	    {"7f0000100000-7f0000700000 rw-p 00000000 fe:00 12345   /usr/lib/x.so", false},
	    {"7f0000100000-7f00003fffff rw-p 00000000 00:00 0 ", false}, /* no whole huge page */
	    {"no mapping at all", false},
	    {"", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct beam_heap_range range = {0};

		assert_int_equal(beam_heap_parse(lines[i].line, &range), lines[i].heap);
		if (!lines[i].heap)
			continue;
		assert_int_equal(range.from, 0x7f0000200000);
		assert_int_equal(range.to, 0x7f0000600000);
	}
}

static bool covered(const struct beam_heap_range *ranges, uint32_t n, uint64_t from, uint64_t to)
{
	for (uint32_t i = 0; i < n; i++)
		if (ranges[i].from <= from && to <= ranges[i].to)
			return true;
	return false;
}

/* More mappings than one read of the list holds, each of another kind than its neighbours. */
static void all_of_many_mappings_are_found(void **state)
{
	enum { N = 300 };
	const size_t size = 2 * BEAM_HUGE_BYTES;
	struct beam_heap_range *ranges = calloc(RANGES, sizeof(*ranges));
	char *base = mmap(NULL, (2 * N + 1) * size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *first = base + BEAM_HUGE_BYTES - (uintptr_t)base % BEAM_HUGE_BYTES;

	(void)state;
	assert_non_null(ranges);
	assert_ptr_not_equal(base, MAP_FAILED);
	for (int i = 0; i < N; i++)
		assert_int_equal(mprotect(first + 2 * i * size, size, PROT_READ | PROT_WRITE), 0);
	uint32_t n = beam_heap_find(ranges, RANGES);

	for (int i = 0; i < N; i++) {
		uint64_t at = (uint64_t)(uintptr_t)first + 2 * (uint64_t)i * size;

		assert_true(covered(ranges, n, at, at + size));
		assert_false(covered(ranges, n, at + size, at + 2 * size));
	}
	assert_int_equal(beam_heap_find(ranges, 7), 7);
	munmap(base, (2 * N + 1) * size);
	free(ranges);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(heap_is_anonymous_private_and_writable),
	    cmocka_unit_test(all_of_many_mappings_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
