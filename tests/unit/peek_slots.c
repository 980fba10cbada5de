/* SPDX-License-Identifier: BSD-3-Clause
 * The walk over a cluster's tables, one per slot, of a simulated server. It has in memory what
 * Redis 7.4 has, as far as the walk looks at it, and a scan over it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "own_memory.h"
#include "partition.h"
#include "peek_table.h"
#include "rdbeam/error.h"

#define KEYS        6000
#define LARGE_SLOT  777  /* has a third of the keys, and is in mid-rehash */
#define EMPTY_SLOT  5    /* has a table without keys */
#define OTHER_SLOTS 3001 /* between two slots with keys */
#define STORE_WORDS 96
#define LIST_WORD   13
#define PARTS       8

struct name {
	uint8_t len, cap, kind; /* string header with a length of 8 bits */
	char text[29];
};

struct object {
	uint64_t head;
	const char *text;
};

struct entry {
	const char *key;
	struct object *value;
	struct entry *next;
};

struct dict {
	const void *type;
	struct entry **table[2];
	uint64_t used[2];
	int64_t rehash_at;
	int16_t paused;
	int8_t exponent[2];
};

static struct {
	struct name names[KEYS];
	struct object values[KEYS];
	struct entry entries[KEYS];
	struct dict *slots[BEAM_CLUSTER_SLOTS];
	struct dict *list[BEAM_CLUSTER_SLOTS]; /* for the walk to find */
	uintptr_t store[STORE_WORDS];
	uintptr_t db[4];
	unsigned seen[KEYS]; /* by the walk */
	unsigned hidden;     /* the scan leaves this key out; KEYS: none */
} server;

struct handle {
	uintptr_t ctx, db;
	const struct object *name;
	struct object *value;
	uintptr_t rest[60];
};

/* ---- the server ----------------------------------------------------------------------------- */

static void give_tables(struct dict *dict, int t, int exponent)
{
	dict->table[t] = calloc((size_t)1 << exponent, sizeof(*dict->table[t]));
	assert_non_null(dict->table[t]);
	dict->exponent[t] = (int8_t)exponent;
}

static void put(unsigned slot, unsigned number)
{
	struct name *name = &server.names[number];
	struct entry *entry = &server.entries[number];
	struct dict *dict = server.slots[slot];
	/* Keys added before the rehash began, and not moved yet, are in the first table. */
	int t = dict->rehash_at >= 0 && number % 2;
	uint64_t bucket = number / 3 & ((1u << dict->exponent[t]) - 1);

	name->kind = 1;
	name->len = (uint8_t)snprintf(name->text, sizeof(name->text), "key:%u", number);
	server.values[number].text = name->text;
	entry->key = name->text;
	entry->value = &server.values[number];
	entry->next = dict->table[t][bucket];
	dict->table[t][bucket] = entry;
	dict->used[t]++;
}

static struct dict *new_dict(int exponent, int next_exponent)
{
	struct dict *dict = calloc(1, sizeof(*dict));

	assert_non_null(dict);
	dict->rehash_at = next_exponent ? 0 : -1;
	dict->exponent[0] = dict->exponent[1] = -1;
	if (exponent)
		give_tables(dict, 0, exponent);
	if (next_exponent)
		give_tables(dict, 1, next_exponent);
	return dict;
}

static int start_server(void **state)
{
	(void)state;
	memset(&server, 0, sizeof(server));
	server.hidden = KEYS;
	server.slots[EMPTY_SLOT] = new_dict(0, 0);
	server.slots[LARGE_SLOT] = new_dict(8, 10);
	for (unsigned i = 0; i < KEYS; i++) {
		unsigned slot = i % 3 ? i * OTHER_SLOTS % BEAM_CLUSTER_SLOTS : LARGE_SLOT;

		if (slot == EMPTY_SLOT)
			slot++;
		if (!server.slots[slot])
			server.slots[slot] = new_dict(2 + (int)(i % 4), 0);
		put(slot, i);
	}
	for (unsigned i = 0; i < STORE_WORDS; i++)
		server.store[i] = i % 3 ? i : (uintptr_t)server.values;
	memcpy(server.list, server.slots, sizeof(server.list));
	server.store[LIST_WORD] = (uintptr_t)server.list;
	server.db[0] = (uintptr_t)server.store;
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	for (unsigned slot = 0; slot < BEAM_CLUSTER_SLOTS; slot++) {
		struct dict *dict = server.slots[slot];

		if (!dict)
			continue;
		free(dict->table[0]);
		free(dict->table[1]);
		free(dict);
	}
	return 0;
}

/* ---- its scan ------------------------------------------------------------------------------- */

struct RedisModuleScanCursor {
	uint64_t at;
};

static const char *string_text(const RedisModuleString *string, size_t *len)
{
	const char *text = ((const struct object *)(const void *)string)->text;

	*len = strlen(text);
	return text;
}

static void restart(RedisModuleScanCursor *cursor)
{
	cursor->at = 0;
}

static void show(struct entry *entry, RedisModuleScanCB each, void *arg)
{
	const struct object name = {.text = entry->key};
	struct handle handle = {.db = (uintptr_t)server.db, .name = &name, .value = entry->value};

	if (entry - server.entries != (ptrdiff_t)server.hidden)
		each(NULL, (RedisModuleString *)(uintptr_t)&name, (RedisModuleKey *)(void *)&handle,
		     arg);
}

/* Shows a bucket of the smaller table, and those of the larger one that it splits into. Returns the
 * size of the smaller table. */
static uint64_t show_bucket(const struct dict *dict, uint64_t bucket, RedisModuleScanCB each,
			    void *arg)
{
	uint64_t step = 1ull << dict->exponent[0];

	for (int t = 0; t < 2 && dict->table[t]; t++)
		for (uint64_t b = bucket; b < 1ull << dict->exponent[t]; b += step)
			for (struct entry *entry = dict->table[t][b]; entry; entry = entry->next)
				show(entry, each, arg);
	return step;
}

static int scan(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor, RedisModuleScanCB each,
		void *arg)
{
	uint64_t slot = cursor->at % BEAM_CLUSTER_SLOTS, bucket = cursor->at / BEAM_CLUSTER_SLOTS;
	const struct dict *dict = server.slots[slot];

	(void)ctx;
	bool any = dict && dict->used[0] + dict->used[1];

	if (any && bucket + 1 < show_bucket(dict, bucket, each, arg)) {
		cursor->at = (bucket + 1) * BEAM_CLUSTER_SLOTS + slot;
		return 1;
	}
	do {
		slot++;
	} while (
	    slot < BEAM_CLUSTER_SLOTS &&
	    !(server.slots[slot] && server.slots[slot]->used[0] + server.slots[slot]->used[1]));
	cursor->at = slot;
	return slot < BEAM_CLUSTER_SLOTS;
}

static int scan_large(RedisModuleCtx *ctx, RedisModuleScanCursor *cursor, RedisModuleScanCB each,
		      void *arg)
{
	uint64_t buckets = show_bucket(server.slots[LARGE_SLOT], cursor->at, each, arg);

	(void)ctx;
	return ++cursor->at < buckets;
}

/* An object as this server makes it: one reference, no embedded key. */
static RedisModuleString *new_string(RedisModuleCtx *ctx, const char *bytes, size_t len)
{
	static struct object fresh = {.head = 1ull << 32};

	(void)ctx, (void)bytes, (void)len;
	return (RedisModuleString *)(void *)&fresh;
}

static void free_string(RedisModuleCtx *ctx, RedisModuleString *string)
{
	(void)ctx, (void)string;
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* Without a cluster: only the large slot's table exists. */
static const struct beam_peek_facts large = {.keys = KEYS / 3};

static const struct beam_peek_facts all = {.keys = KEYS, .by_slot = true};

static bool open_table(const struct beam_peek_facts *facts, struct beam_peek_table *table)
{
	struct RedisModuleScanCursor cursor = {0};

	RedisModule_Scan = facts->by_slot ? scan : scan_large;
	RedisModule_ScanCursorRestart = restart;
	RedisModule_StringPtrLen = string_text;
	RedisModule_CreateString = new_string;
	RedisModule_FreeString = free_string;
	return beam_peek_table_open(NULL, &cursor, facts, table);
}

static int on_key(void *arg, const struct beam_open_key *key)
{
	unsigned *calls = arg, number;

	assert_int_equal(sscanf(key->name, "key:%u", &number), 1);
	assert_true(number < KEYS);
	assert_int_equal(key->name_bytes, server.names[number].len);
	assert_ptr_equal(((const struct handle *)(const void *)key->handle)->value,
			 &server.values[number]);
	server.seen[number]++;
	++*calls;
	return 0;
}

static void each_key_is_in_one_part(void **state)
{
	struct beam_peek_table table;
	unsigned calls = 0, most = 0;

	(void)state;
	assert_true(open_table(&all, &table));
	assert_int_equal(beam_peek_table_kind(&table), BEAM_TABLE_CHAINED);
	for (uint32_t part = 0; part < PARTS; part++) {
		unsigned before = calls;

		assert_int_equal(beam_peek_table_walk(&table, part, PARTS, on_key, &calls), 0);
		assert_true(calls > before);
		most = calls - before > most ? calls - before : most;
	}
	assert_int_equal(calls, KEYS);
	for (unsigned i = 0; i < KEYS; i++)
		assert_int_equal(server.seen[i], 1);
	assert_true(most < KEYS / PARTS * 5 / 4); /* the large slot is shared */
}

static int stop_at_once(void *arg, const struct beam_open_key *key)
{
	(void)key;
	++*(unsigned *)arg;
	return 7;
}

static void what_the_caller_says_ends_the_walk(void **state)
{
	struct beam_peek_table table;
	unsigned calls = 0;

	(void)state;
	assert_true(open_table(&all, &table));
	assert_int_equal(beam_peek_table_walk(&table, 0, 1, stop_at_once, &calls), 7);
	assert_int_equal(calls, 1);
}

static void another_number_of_keys_is_not_believed(void **state)
{
	const struct beam_peek_facts more = {.keys = KEYS + 1, .by_slot = true};
	const struct beam_peek_facts fewer = {.keys = KEYS - 1, .by_slot = true};
	const struct beam_peek_facts one_table = {.keys = KEYS};
	struct beam_peek_table table;

	(void)state;
	assert_false(open_table(&more, &table));
	assert_false(open_table(&fewer, &table));
	assert_false(open_table(&one_table, &table));
}

static void a_list_that_leads_nowhere_is_no_crash(void **state)
{
	struct beam_peek_table table;

	(void)state;
	server.list[EMPTY_SLOT] = (struct dict *)(uintptr_t)4096;
	assert_false(open_table(&all, &table));
	server.list[EMPTY_SLOT] = (struct dict *)((uintptr_t)server.slots[EMPTY_SLOT] + 1);
	assert_false(open_table(&all, &table));
	server.list[EMPTY_SLOT] = server.slots[EMPTY_SLOT];
	assert_true(open_table(&all, &table));
}

/* Hides a key, one of the first that the proof looks at, from the scan. */
static void a_scan_that_differs_is_believed(void **state)
{
	struct beam_peek_table table;
	unsigned slot = 0;

	(void)state;
	while (!server.slots[slot] || !server.slots[slot]->used[0])
		slot++;
	for (unsigned i = 0; i < KEYS; i++)
		if (i % 3 && i * OTHER_SLOTS % BEAM_CLUSTER_SLOTS == slot)
			server.hidden = i;
	assert_true(server.hidden < KEYS);
	assert_false(open_table(&all, &table));
}

static void have_the_large_table_only(void)
{
	server.store[LIST_WORD] = (uintptr_t)&server.list[LARGE_SLOT];
}

/* Moves one bucket of a rehash, as a lookup does in Redis 7.0.0, even in a child. */
static int on_key_of_a_server_that_rehashes(void *arg, const struct beam_open_key *key)
{
	int err = on_key(arg, key);

	if (*(unsigned *)arg == 10)
		server.slots[LARGE_SLOT]->rehash_at++;
	return err;
}

static void a_walk_over_keys_that_are_moved_fails(void **state)
{
	struct beam_peek_table table;
	unsigned calls = 0;

	(void)state;
	have_the_large_table_only();
	assert_true(open_table(&large, &table));
	assert_int_equal(beam_peek_table_walk(&table, 0, 1, on_key, &calls), 0);
	assert_int_equal(calls, KEYS / 3);
	calls = 0;
	assert_int_equal(
	    beam_peek_table_walk(&table, 0, 1, on_key_of_a_server_that_rehashes, &calls),
	    BEAM_E_MOVED);
}

static void only_pages_that_are_there_are_remembered(void **state)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct beam_memory_seen seen = {0};
	char got[4];
	char *two =
	    mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(two, MAP_FAILED);
	munmap(two + page, page);
	memcpy(two + page - 4, "here", 4);
	for (int i = 0; i < 2; i++) { /* asked for, then remembered */
		assert_true(beam_read_seen(&seen, (uintptr_t)two + page - 4, got, 4));
		assert_memory_equal(got, "here", 4);
		assert_false(beam_read_seen(&seen, (uintptr_t)two + page - 2, got, 4));
		assert_false(beam_read_seen(&seen, (uintptr_t)two + page, got, 1));
		assert_false(beam_seen_there(&seen, two, page + 1));
		assert_true(beam_seen_there(&seen, two, page));
		assert_false(beam_read_seen(&seen, 0, got, 4));
		assert_false(beam_read_seen(&seen, UINTPTR_MAX - 2, got, 4));
	}
	assert_true(beam_read_seen(NULL, (uintptr_t)two, got, 4));
	assert_false(beam_read_seen(NULL, (uintptr_t)two + page, got, 4));
	munmap(two, page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(each_key_is_in_one_part, start_server, stop_server),
	    cmocka_unit_test_setup_teardown(what_the_caller_says_ends_the_walk, start_server,
					    stop_server),
	    cmocka_unit_test_setup_teardown(another_number_of_keys_is_not_believed, start_server,
					    stop_server),
	    cmocka_unit_test_setup_teardown(a_list_that_leads_nowhere_is_no_crash, start_server,
					    stop_server),
	    cmocka_unit_test_setup_teardown(a_scan_that_differs_is_believed, start_server,
					    stop_server),
	    cmocka_unit_test_setup_teardown(a_walk_over_keys_that_are_moved_fails, start_server,
					    stop_server),
	    cmocka_unit_test(only_pages_that_are_there_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
