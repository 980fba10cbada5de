/* SPDX-License-Identifier: BSD-3-Clause
 * Memory that grows: its contents stay, and what is added is zeroed, aligned and usable. */
#include <stdint.h>
#include <string.h>

#include "pages.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MIB        ((size_t)1 << 20)
#define ALIGNED    (2 * MIB)
#define PAGE       4096
#define LONGEST    (96 * MIB)
#define IMPOSSIBLE ((size_t)1 << 47) /* larger than the address space */

static uint8_t mark(size_t at)
{
	return (uint8_t)(1 + at / PAGE % 251);
}

static void assert_marked(const uint8_t *base, size_t len_bytes)
{
	for (size_t at = 0; at < len_bytes; at += PAGE)
		assert_int_equal(base[at], mark(at));
}

static void test_grown_memory_keeps_what_it_has(void **state)
{
	size_t len = 4 * MIB + 5, had = 0;
	uint8_t *base = beam_pages_map_growing(len);

	(void)state;
	while (len < LONGEST) {
		assert_non_null(base);
		assert_int_equal((uintptr_t)base % ALIGNED, 0);
		assert_marked(base, had);
		for (size_t at = (had + PAGE - 1) / PAGE * PAGE; at < len; at += PAGE) {
			assert_int_equal(base[at], 0);
			base[at] = mark(at);
		}
		had = len;
		len = len * 2 + 3;
		base = beam_pages_grow(base, had, len);
	}
	assert_marked(base, had);
	beam_pages_unmap(base, len);
}

static void test_what_cannot_grow_stays(void **state)
{
	uint8_t *base = beam_pages_map_growing(MIB);

	(void)state;
	assert_non_null(base);
	memset(base, 7, MIB);
	assert_null(beam_pages_grow(base, MIB, IMPOSSIBLE));
	assert_int_equal(base[MIB - 1], 7);
	assert_null(beam_pages_map_growing(IMPOSSIBLE));
	beam_pages_unmap(base, MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_grown_memory_keeps_what_it_has),
	    cmocka_unit_test(test_what_cannot_grow_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
