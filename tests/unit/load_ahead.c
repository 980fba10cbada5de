/* SPDX-License-Identifier: BSD-3-Clause
 * Memory that is made ahead of what a server's own loader creates. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "load_ahead.h"
#include "memory.h"
#include "present.h"
#include "redis_api.h"

#define KB 1024u
#define MB (1024u * KB)

/* ---- a heap, and a look at the thread ------------------------------------------------------- */

static char *place;                        /* where the heap gives out new memory */
static struct beam_memory_left room;       /* that the process has */
static const uint64_t much = 1024ull * MB; /* of it */
static bool told_little;                   /* and asks for no more: it is then idle */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool idle;
	size_t bytes; /* asked for */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int __real_madvise(void *at, size_t len_bytes, int advice);
int __wrap_madvise(void *at, size_t len_bytes, int advice);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);

int __wrap_madvise(void *at, size_t len_bytes, int advice)
{
	assert_int_equal((uintptr_t)at % PAGE, 0);
	assert_int_equal(len_bytes % PAGE, 0);
	pthread_mutex_lock(&seen.lock);
	seen.bytes += len_bytes;
	pthread_mutex_unlock(&seen.lock);
	return __real_madvise(at, len_bytes, advice);
}

static void be_idle(void)
{
	pthread_mutex_lock(&seen.lock);
	seen.idle = true;
	pthread_cond_signal(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

/* Only the thread under test comes here, and to the next. */
void beam_memory_look(pid_t pid, struct beam_memory_left *left)
{
	assert_int_equal(pid, 0);
	*left = room;
	told_little = room.bytes < much || room.is_short;
	if (told_little)
		be_idle();
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	be_idle();
	return __real_pthread_cond_wait(cond, lock);
}

static void wait_until_idle(void)
{
	pthread_mutex_lock(&seen.lock);
	while (!seen.idle)
		__real_pthread_cond_wait(&seen.changed, &seen.lock);
	pthread_mutex_unlock(&seen.lock);
}

static char *map(size_t len_bytes)
{
	char *memory = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static bool kernel_can(void)
{
	char *memory = map(PAGE);
	bool can = !__real_madvise(memory, PAGE, 23 /* MADV_POPULATE_WRITE */);

	munmap(memory, PAGE);
	return can;
}

static void begin(void)
{
	if (!kernel_can())
		skip();
	seen.idle = false;
	seen.bytes = 0;
	beam_load_ahead_begin();
	wait_until_idle();
}

/* Looks with the heap at another place than before, and waits until the thread has done its part. */
static void look_at(char *at)
{
	place = at;
	seen.idle = false;
	beam_load_ahead_look();
	wait_until_idle();
}

static void *give_out(size_t len_bytes)
{
	(void)len_bytes;
	return place;
}

static void take_back(void *memory)
{
	assert_ptr_equal(memory, place);
}

static void touch(char *memory, size_t len_bytes)
{
	for (size_t at = 0; at < len_bytes; at += PAGE)
		*(volatile char *)(memory + at) = 1;
}

static int set_up(void **state)
{
	(void)state;
	room = (struct beam_memory_left){.bytes = much};
	RedisModule_Alloc = give_out;
	RedisModule_Free = take_back;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	beam_load_ahead_end();
	return 0;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_heap_that_grows_finds_its_pages(void **state)
{
	const size_t step = 2 * MB;
	char *memory = map(64 * MB);

	(void)state;
	begin();
	look_at(memory);
	assert_int_equal(present(memory, 64 * MB), MB); /* nothing is known yet */
	for (size_t at = step; at < 32 * MB; at += step) {
		look_at(memory + at);
		assert_int_equal(present(memory + at, step), step);
		touch(memory + at, step);
	}
	beam_load_ahead_end();
	/* each page once, and not much more than what the heap took */
	assert_in_range(seen.bytes, 30 * MB, 34 * MB);
	munmap(memory, 64 * MB);
}

static void the_same_place_asks_for_nothing_more(void **state)
{
	char *memory = map(8 * MB);

	(void)state;
	begin();
	look_at(memory + 100);
	for (int i = 0; i < 1000; i++)
		beam_load_ahead_look();
	beam_load_ahead_end();
	assert_int_equal(seen.bytes, MB);
	assert_int_equal(present(memory + PAGE, MB), MB);
	munmap(memory, 8 * MB);
}

/* What the main thread has faulted in between two looks tells how much a step takes. */
static void a_jump_asks_for_as_much_as_was_taken(void **state)
{
	char *memory = map(128 * MB), *other = map(16 * MB);

	(void)state;
	begin();
	look_at(memory + 64 * MB);
	touch(other, 4 * MB);
	look_at(memory);
	assert_in_range(present(memory, 64 * MB), 4 * MB, 5 * MB);
	munmap(memory, 128 * MB);
	munmap(other, 16 * MB);
}

/* As in a heap full of holes. */
static void what_is_never_used_ends_the_asking(void **state)
{
	const uint32_t looks = 100;
	char *memory = map(looks * 4ull * MB), *other = map(looks * 2ull * MB);

	(void)state;
	begin();
	for (uint32_t i = 0; i < looks; i++) {
		touch(other + i * 2ull * MB, 2 * MB);
		look_at(memory + (looks - 1 - i) * 4ull * MB);
	}
	beam_load_ahead_end();
	/* 16 MB, and an eighth of the 200 MB that came by faults (a sanitizer has faults of its own),
	 * instead of 212 */
	assert_in_range(present(memory, looks * 4ull * MB), 30 * MB, 64 * MB);
	munmap(memory, looks * 4ull * MB);
	munmap(other, looks * 2ull * MB);
}

static void pages_that_are_there_cost_nothing(void **state)
{
	const uint32_t looks = 100;
	char *memory = map(looks * 2ull * MB), *end = map(8 * MB);

	(void)state;
	touch(memory, looks * 2ull * MB);
	begin();
	for (uint32_t i = 0; i < looks; i++)
		look_at(memory + (looks - 1 - i) * 2ull * MB);
	look_at(end); /* there is still credit */
	assert_in_range(present(end, 8 * MB), MB, 8 * MB);
	munmap(memory, looks * 2ull * MB);
	munmap(end, 8 * MB);
}

static void the_end_of_memory_is_no_error(void **state)
{
	char *memory = map(4 * MB);

	(void)state;
	munmap(memory + 2 * MB, 2 * MB);
	begin();
	look_at(memory + 2 * MB - 512 * KB);
	assert_int_equal(present(memory + MB, MB), 512 * KB);
	look_at(memory);
	assert_int_equal(present(memory, MB), MB);
	munmap(memory, 2 * MB);
}

/* Made and not used, it might be what is missing in the end. */
static void little_room_ends_the_load(void **state)
{
	const struct beam_memory_left little[] = {{.bytes = 200 * MB},
						  {.bytes = much, .is_short = true}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char *memory = map(256 * MB);

		room = (struct beam_memory_left){.bytes = much};
		begin();
		look_at(memory);
		assert_int_equal(present(memory, 256 * MB), MB);
		/* It looks again now and then. */
		room = little[i];
		told_little = false;
		for (size_t at = 2 * MB; at < 128 * MB && !told_little; at += 2 * MB) {
			look_at(memory + at);
			touch(memory + at, 2 * MB);
		}
		beam_load_ahead_end();
		assert_in_range(present(memory, 256 * MB), 30 * MB, 40 * MB);
		begin();
		look_at(memory + 128 * MB);
		beam_load_ahead_end();
		assert_int_equal(present(memory + 128 * MB, 128 * MB), 0);
		munmap(memory, 256 * MB);
	}
}

static void a_second_load_begins_anew(void **state)
{
	char *memory = map(8 * MB);

	(void)state;
	begin();
	look_at(memory);
	beam_load_ahead_end();
	beam_load_ahead_end();
	beam_load_ahead_look(); /* no load: nothing happens */
	begin();
	look_at(memory + 4 * MB);
	assert_int_equal(present(memory, 8 * MB), 2 * MB);
	munmap(memory, 8 * MB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_heap_that_grows_finds_its_pages, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(the_same_place_asks_for_nothing_more, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(a_jump_asks_for_as_much_as_was_taken, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(what_is_never_used_ends_the_asking, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(pages_that_are_there_cost_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(the_end_of_memory_is_no_error, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(little_room_ends_the_load, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_second_load_begins_anew, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("load-ahead", tests, NULL, NULL);
}
