/* SPDX-License-Identifier: BSD-3-Clause
 * Memory that is asked for ahead of a load's values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "load_heap.h"
#include "present.h"

#define KB 1024u
#define MB (1024u * KB)

static struct {
	uint32_t calls;
	size_t bytes;
	const char *first, *last_end;
} asked;

int __real_madvise(void *at, size_t len_bytes, int advice);
int __wrap_madvise(void *at, size_t len_bytes, int advice);

int __wrap_madvise(void *at, size_t len_bytes, int advice)
{
	assert_int_equal((uintptr_t)at % PAGE, 0);
	assert_int_equal(len_bytes % PAGE, 0);
	if (!asked.calls++)
		asked.first = at;
	asked.bytes += len_bytes;
	asked.last_end = (const char *)at + len_bytes;
	return __real_madvise(at, len_bytes, advice);
}

static char *map(size_t len_bytes)
{
	char *memory = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	asked.calls = 0;
	asked.bytes = 0;
	return memory;
}

static bool kernel_knows(char *memory)
{
	return !__real_madvise(memory, PAGE, 23 /* MADV_POPULATE_WRITE */);
}

static void values_in_order_find_their_pages(void **state)
{
	struct beam_load_heap heap;
	char *memory = map(8 * MB);

	(void)state;
	if (!kernel_knows(memory))
		skip();
	beam_load_heap_begin(&heap);
	memory[0] = 1;
	for (size_t at = 0; at + 1100 <= 4 * MB; at += 1100) {
		/* all pages of a value are there before it is written, except for the first one's */
		size_t page = at / PAGE * PAGE;

		assert_true(at == 0 || present(memory + page, 2 * PAGE) == 2 * PAGE);
		beam_load_heap_used(&heap, memory + at, 1100);
	}
	assert_in_range(asked.calls, 8, 64);
	assert_true(asked.last_end <= memory + 5 * MB);
	munmap(memory, 8 * MB);
}

static void long_values_ask_for_another_one(void **state)
{
	struct beam_load_heap heap;
	char *memory = map(64 * MB);

	(void)state;
	if (!kernel_knows(memory))
		skip();
	beam_load_heap_begin(&heap);
	for (size_t at = 0; at < 36 * MB; at += 4 * MB) {
		/* at the beginning there is credit for a half */
		assert_true(at == 0 || present(memory + at, 2 * MB - PAGE) == 2 * MB - PAGE);
		beam_load_heap_used(&heap, memory + at, 4 * MB - 100);
	}
	assert_true(asked.last_end <= memory + 41 * MB);
	munmap(memory, 64 * MB);
}

/* As an allocator does that has a place for each size. */
static void sizes_have_places_of_their_own(void **state)
{
	static const size_t sizes[] = {200, 700, 2500, 9000, 40000};
	size_t at[5] = {0}, all = 0;
	struct beam_load_heap heap;
	char *memory = map(320 * MB);

	(void)state;
	if (!kernel_knows(memory))
		skip();
	beam_load_heap_begin(&heap);
	for (uint32_t i = 0; all < 32 * MB; i++) {
		size_t k = i % 5;
		char *value = memory + k * 64 * MB + at[k];

		beam_load_heap_used(&heap, value, sizes[k]);
		at[k] += sizes[k];
		all += sizes[k];
	}
	/* most of it, and little that was not used */
	assert_in_range(asked.bytes, 28 * MB, 35 * MB);
	munmap(memory, 320 * MB);
}

/* Each value is in a hole somewhere. */
static void without_order_calls_are_rare(void **state)
{
	const uint32_t values = 100000, value_bytes = 1000;
	struct beam_load_heap heap;
	char *memory = map(256 * MB);
	uint64_t at = 1;

	(void)state;
	beam_load_heap_begin(&heap);
	for (uint32_t i = 0; i < values; i++) {
		at = at * 6364136223846793005ull + 1442695040888963407ull;
		beam_load_heap_used(&heap, memory + (at >> 33) % (255 * MB), value_bytes);
	}
	assert_in_range(asked.bytes, 1, 9 * MB);
	assert_in_range(asked.calls, 1, 72);
	munmap(memory, 256 * MB);
}

static void the_end_of_memory_is_no_error(void **state)
{
	struct beam_load_heap heap;
	char *memory = map(2 * MB);

	(void)state;
	assert_int_equal(mprotect(memory + MB, MB, PROT_NONE), 0);
	beam_load_heap_begin(&heap);
	beam_load_heap_used(&heap, memory + MB - 2000, 1000);
	beam_load_heap_used(&heap, memory + MB - 1000, 1000);
	assert_int_equal(present(memory + MB, MB), 0);
	munmap(memory + MB, MB);
	beam_load_heap_begin(&heap);
	beam_load_heap_used(&heap, memory + MB - 1000, 1000);
	munmap(memory, MB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values_in_order_find_their_pages),
	    cmocka_unit_test(long_values_ask_for_another_one),
	    cmocka_unit_test(sizes_have_places_of_their_own),
	    cmocka_unit_test(without_order_calls_are_rare),
	    cmocka_unit_test(the_end_of_memory_is_no_error),
	};

	return cmocka_run_group_tests_name("load-heap", tests, NULL, NULL);
}
