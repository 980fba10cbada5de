/* SPDX-License-Identifier: BSD-3-Clause
 * Skip lists, built here like servers have them: each element is prefetched once, and what is not a
 * list is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ahead.h"
#include "object.h"

#define SORTED_SET (3u | 7u << 4)
#define LEVELS     32
#define NODE_WORDS (3 + 2 * LEVELS)

/* Offsets in words. */
struct shape {
	unsigned backward, level;
	bool own_header; /* the list's struct is its header node */
};

static const struct shape shapes[] = {{2, 3, false}, {1, 2, false}, {1, 2, true}};

#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct set {
	const struct shape *shape;
	uintptr_t *nodes; /* n nodes, then the header */
	uintptr_t list[4], zset[2];
	unsigned n;
	uint8_t object[BEAM_OBJECT_HEAD_BYTES + sizeof(uintptr_t)];
};

static uintptr_t *node_of(const struct set *set, unsigned i)
{
	return set->nodes + (size_t)i * NODE_WORDS;
}

/* The order of the nodes in memory differs from that of the list. */
static unsigned place_of(const struct set *set, unsigned i)
{
	return (unsigned)((uint64_t)i * 7919 % set->n);
}

static uintptr_t *member(const struct set *set, unsigned i)
{
	return node_of(set, place_of(set, i));
}

/* Node i has one level more than i + 1 can be divided by 4. */
static unsigned levels_of(unsigned i)
{
	unsigned levels = 1;

	for (unsigned at = i + 1; at % 4 == 0 && levels < LEVELS; at /= 4)
		levels++;
	return levels;
}

static void build(struct set *set, const struct shape *shape, unsigned n)
{
	uintptr_t *last[LEVELS], *header, *before = NULL;
	uintptr_t zset;

	memset(set, 0, sizeof(*set));
	set->shape = shape;
	set->n = n;
	set->nodes = calloc(n + 1, NODE_WORDS * sizeof(uintptr_t));
	assert_non_null(set->nodes);
	header = node_of(set, n);
	for (unsigned level = 0; level < LEVELS; level++)
		last[level] = header;
	for (unsigned i = 0; i < n; i++) {
		uintptr_t *node = member(set, i);

		node[0] = (uintptr_t)node; /* an element's address, or a score */
		node[shape->backward] = (uintptr_t)before;
		before = node;
		for (unsigned level = 0; level < levels_of(i); level++) {
			last[level][shape->level + 2 * level] = (uintptr_t)node;
			last[level] = node;
		}
	}
	set->list[0] = (uintptr_t)header;
	set->list[1] = (uintptr_t)before;
	set->list[2] = n;
	if (shape->own_header) {
		header[0] = n;
		header[1] = (uintptr_t)before;
	}
	set->zset[1] = shape->own_header ? (uintptr_t)header : (uintptr_t)set->list;
	set->object[0] = SORTED_SET;
	zset = (uintptr_t)set->zset;
	memcpy(set->object + BEAM_OBJECT_HEAD_BYTES, &zset, sizeof(zset));
}

/* Writes the set as the serializer does. Returns by how many elements the prefetching was ahead at
 * least, except at the end. The score is recognized by its place on the stack, as with the server;
 * so it must not be on a fake stack of ASan (gcc 13 and newer). */
__attribute__((no_sanitize_address)) static int64_t write_all(struct beam_ahead *ahead,
							      const struct set *set)
{
	uint64_t had = beam_ahead_elements(ahead);
	int64_t least = set->n;
	double score = 1;

	beam_ahead_open(ahead, set->object);
	for (unsigned i = 0; i < set->n; i++) {
		int64_t fetched = (int64_t)(beam_ahead_elements(ahead) - had);

		if (fetched < set->n && fetched - i < least)
			least = fetched - i;
		beam_ahead_wrote(ahead, set->nodes, sizeof(score)); /* an element of that length */
		beam_ahead_wrote(ahead, &score, sizeof(score));
	}
	return least;
}

static void every_element_is_fetched_in_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++)
		for (unsigned n = 1024; n <= 40000; n += 3251) {
			struct beam_ahead ahead = {.on = false};
			struct set set;

			build(&set, &shapes[i], n);
			for (unsigned times = 1; times <= 10;
			     times++) { /* more often than proofs are made */
				int64_t least = write_all(&ahead, &set);

				assert_int_equal(beam_ahead_elements(&ahead), (uint64_t)times * n);
				assert_true(least > 0);
			}
			beam_ahead_close(&ahead);
			free(set.nodes);
		}
}

static void short_ones_are_left_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++) {
		struct beam_ahead ahead = {.on = false};
		struct set sets[3];

		build(&sets[0], &shapes[i], 1);
		build(&sets[1], &shapes[i], 63);
		build(&sets[2], &shapes[i], 1023);
		for (unsigned k = 0; k < 3; k++)
			write_all(&ahead, &sets[k]);
		assert_int_equal(beam_ahead_elements(&ahead), 0);
		assert_false(ahead.list.disproved);
		for (unsigned k = 0; k < 3; k++)
			free(sets[k].nodes);
		beam_ahead_close(&ahead);
	}
}

static void expect_disproved(struct set *set)
{
	struct beam_ahead ahead = {.on = false};
	struct set good;

	write_all(&ahead, set);
	assert_true(ahead.list.disproved);
	build(&good, set->shape, 5000);
	write_all(&ahead, &good);
	assert_int_equal(beam_ahead_elements(&ahead), 0);
	beam_ahead_close(&ahead);
	free(good.nodes);
	free(set->nodes);
}

static void what_is_no_list_is_not_gone_through(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++) {
		const struct shape *shape = &shapes[i];
		struct set set;

		build(&set, shape, 5000); /* a link that leads nowhere */
		member(&set, 4980)[shape->backward] = 4096;
		expect_disproved(&set);
		build(&set, shape, 5000); /* one that leads past another node */
		member(&set, 4980)[shape->level] = (uintptr_t)member(&set, 4982);
		expect_disproved(&set);
		build(&set, shape, 5000); /* an upper level of something else */
		node_of(&set, set.n)[shape->level + 2 * 3] = 8192;
		expect_disproved(&set);
		build(&set, shape, 5000); /* no list at all */
		set.zset[1] = 4096;
		expect_disproved(&set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_element_is_fetched_in_time),
	    cmocka_unit_test(short_ones_are_left_alone),
	    cmocka_unit_test(what_is_no_list_is_not_gone_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
