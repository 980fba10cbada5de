/* SPDX-License-Identifier: BSD-3-Clause
 * Tables of objects with their keys embedded, built here like Redis 8.2 and 8.6 have them: each
 * object is found once, and what is not such a table is not trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "object.h"
#include "peek_layout.h"

#define KEYS     1000
#define EXPONENT 9
#define BUCKETS  (1u << EXPONENT)
#define NOWHERE  ((uintptr_t)64)

struct dict {
	uintptr_t type, table[2];
	uint64_t used[2];
	int64_t rehash_at;
	uint8_t tail[8];
};

static enum beam_kv_form form;
static _Alignas(8) uint8_t fresh[16], objects[KEYS][64];
static uintptr_t entries[KEYS][2], buckets[BUCKETS];
static struct dict dict;
static unsigned seen[KEYS];

/* ---- a server ------------------------------------------------------------------------------- */

static RedisModuleString *create_string(RedisModuleCtx *ctx, const char *bytes, size_t len)
{
	(void)ctx, (void)bytes, (void)len;
	memset(fresh, 0, sizeof(fresh));
	fresh[0] = 8 << 4;
	switch (form) {
	case BEAM_KV_BEFORE:
		fresh[1] = 1; /* references: 23 bits; no key; no bits of metadata; age */
		fresh[6] = 77;
		break;
	case BEAM_KV_BEHIND:
		fresh[2] = 77;     /* age */
		fresh[4] = 1 << 2; /* no key; no time; references */
		break;
	default:
		fresh[2] = 77;
		fresh[4] = 1;
	}
	return (RedisModuleString *)(void *)fresh;
}

static void free_string(RedisModuleCtx *ctx, RedisModuleString *string)
{
	(void)ctx, (void)string;
}

static size_t name_of(unsigned i, char name[16])
{
	return (size_t)snprintf(name, 16, "key %u", i);
}

/* Every third object has room for an expiry time: in front of it, or between its words and the
 * key. */
static void make_object(unsigned i)
{
	uint8_t *object = objects[i], *at = object + 16;
	bool expires = i % 3 == 0;
	char name[16];
	size_t len = name_of(i, name);

	memset(object, 0, sizeof(objects[i]));
	if (form == BEAM_KV_BEFORE) {
		object[1] = 1;
		object[3] = 0x80;
		object[4] = expires;
	} else {
		memset(object + 1, 0xff, 3);
		object[4] = (uint8_t)(1 << 2 | 1 | expires << 1);
		at += expires ? 8 : 0;
	}
	*at++ = 1;
	*at++ = (uint8_t)(len << 3);
	memcpy(at, name, len);
}

static void make_table(void)
{
	memset(buckets, 0, sizeof(buckets));
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < KEYS; i++) {
		uintptr_t *bucket = &buckets[i * 7919 % BUCKETS], object = (uintptr_t)objects[i];
		bool newer = form == BEAM_KV_BEFORE;

		make_object(i);
		if (!*bucket) {
			*bucket = object | 2;
			continue;
		}
		entries[i][newer ? 0 : 1] = *bucket;
		entries[i][newer ? 1 : 0] = object;
		*bucket = (uintptr_t)entries[i] | (newer ? 0 : 4);
	}
	dict = (struct dict){.table = {(uintptr_t)buckets}, .used = {KEYS}, .rehash_at = -1};
	memset(dict.tail, 0, sizeof(dict.tail));
	dict.tail[form == BEAM_KV_BEFORE ? 4 : 2] = EXPONENT;
	dict.tail[form == BEAM_KV_BEFORE ? 5 : 3] = 0xff;
}

static int start(void **state)
{
	(void)state;
	RedisModule_CreateString = create_string;
	RedisModule_FreeString = free_string;
	make_table();
	return 0;
}

static bool open_table(struct beam_peek_table *table)
{
	memset(table, 0, sizeof(*table));
	table->layout = &peek_kvobj;
	return peek_kvobj.open((uintptr_t)&dict, table);
}

static int each(void *arg, const struct beam_open_key *key)
{
	struct beam_peek_table *table = arg;
	unsigned i = (unsigned)atoi(key->name + strlen("key "));
	char name[16];

	assert_in_range(i, 0, KEYS - 1);
	assert_int_equal(key->name_bytes, name_of(i, name));
	assert_memory_equal(key->name, name, key->name_bytes);
	assert_int_equal(table->handle[3], (uintptr_t)objects[i]);
	assert_false(key->knows_expire);
	seen[i]++;
	return 0;
}

/* ---- cases ---------------------------------------------------------------------------------- */

static void each_object_is_found_once(void **state)
{
	struct beam_peek_table table;

	(void)state;
	assert_true(open_table(&table));
	assert_int_equal(table.here, KEYS);
	assert_int_equal(table.nbuckets[0], BUCKETS);
	assert_int_equal(table.nbuckets[1], 0);
	assert_int_equal(beam_peek_table_walk(&table, 0, 1, each, &table), 0);
	for (unsigned i = 0; i < KEYS; i++)
		assert_int_equal(seen[i], 1);
}

static void buckets_have_what_is_in_them(void **state)
{
	struct beam_peek_table table;
	unsigned total = 0;
	char name[16];

	(void)state;
	assert_true(open_table(&table));
	for (unsigned b = 0; b < BUCKETS; b++)
		total += peek_kvobj.count(&table, 0, b);
	assert_int_equal(total, KEYS);
	for (unsigned i = 0; i < KEYS; i++) {
		unsigned b = i * 7919 % BUCKETS;
		uintptr_t object = (uintptr_t)objects[i];
		size_t len = name_of(i, name);

		assert_true(peek_kvobj.has(&table, 0, b, object, name, len));
		assert_false(peek_kvobj.has(&table, 0, (b + 1) % BUCKETS, object, name, len));
		assert_false(peek_kvobj.has(&table, 0, b, object, name, len - 1));
	}
}

static void an_object_without_a_key_is_not_believed(void **state)
{
	struct beam_peek_table table;

	(void)state;
	assert_true(open_table(&table));
	objects[0][form == BEAM_KV_BEFORE ? 3 : 4] = 0;
	assert_false(peek_kvobj.has(&table, 0, 0, (uintptr_t)objects[0], "key 0", 5));
	assert_int_equal(beam_peek_table_walk(&table, 0, 1, each, &table), -1);
}

static void what_leads_nowhere_is_not_believed(void **state)
{
	struct beam_peek_table table;

	(void)state;
	assert_true(open_table(&table));
	buckets[0] = NOWHERE;
	assert_true(peek_kvobj.count(&table, 0, 0) > PEEK_BUCKET);
	buckets[0] = NOWHERE | 2;
	assert_false(peek_kvobj.has(&table, 0, 0, NOWHERE, "key 0", 5));
	buckets[0] = (uintptr_t)entries[1] | 1;
	assert_true(peek_kvobj.count(&table, 0, 0) > PEEK_BUCKET);
	dict.rehash_at = 0; /* the second table is missing */
	assert_false(open_table(&table));
}

static void another_kind_of_object_is_no_such_table(void **state)
{
	struct beam_peek_table table;
	const char *key;

	(void)state;
	assert_false(open_table(&table));
	assert_false(beam_object_kv_key(form, objects[0], &key));
}

static int run(enum beam_kv_form which)
{
	const struct CMUnitTest with_keys[] = {
	    cmocka_unit_test_setup(each_object_is_found_once, start),
	    cmocka_unit_test_setup(buckets_have_what_is_in_them, start),
	    cmocka_unit_test_setup(an_object_without_a_key_is_not_believed, start),
	    cmocka_unit_test_setup(what_leads_nowhere_is_not_believed, start),
	};
	const struct CMUnitTest without[] = {
	    cmocka_unit_test_setup(another_kind_of_object_is_no_such_table, start),
	};

	form = which;
	return form == BEAM_KV_NONE ? cmocka_run_group_tests(without, NULL, NULL)
				    : cmocka_run_group_tests(with_keys, NULL, NULL);
}

/* One process per form, because a server's form is looked up only once. */
int main(void)
{
	int failed = 0;

	for (int which = BEAM_KV_NONE; which <= BEAM_KV_BEFORE; which++) {
		int status = 1;
		pid_t child = fork();

		if (!child)
			exit(run((enum beam_kv_form)which));
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			failed++;
	}
	return failed;
}
