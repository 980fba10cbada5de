/* SPDX-License-Identifier: BSD-3-Clause
 * Values that a load by module sets, on servers that keep, move or copy what they are given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load_value.h"

#define VALUES 8
#define BYTES  1000
#define SHORT  100 /* such are copied by every server that has objects of its own */

/* ---- a server ------------------------------------------------------------------------------- */

struct RedisModuleString {
	uint64_t head; /* the refcount, among other fields */
	char *bytes;
	size_t len_bytes;
	uint64_t far; /* not searched for a refcount */
};

struct RedisModuleKey {
	struct RedisModuleString *value;
};

static struct {
	int shift;      /* of the refcount within the head */
	bool own;       /* has objects of its own in its table */
	bool moves;     /* and moves bytes to which there is no other reference */
	int nshort;     /* so many first values of a load are short */
	bool refuses;   /* setting a key fails */
	bool elsewhere; /* keeps the refcount where it is not found */
	int alive, copies;
} server;

#define OTHERS 0x0000000000000013ull

static uint64_t count(const RedisModuleString *o)
{
	return server.elsewhere ? o->far : (o->head & ~OTHERS) >> server.shift;
}

static void set_count(RedisModuleString *o, uint64_t n)
{
	if (server.elsewhere)
		o->far = n;
	else
		o->head = OTHERS | n << server.shift;
}

static RedisModuleString *make(char *bytes, size_t len_bytes)
{
	RedisModuleString *o = calloc(1, sizeof(*o));

	assert_non_null(o);
	o->head = OTHERS;
	o->bytes = bytes;
	o->len_bytes = len_bytes;
	set_count(o, 1);
	server.alive++;
	return o;
}

static void retain(RedisModuleCtx *ctx, RedisModuleString *o)
{
	(void)ctx;
	set_count(o, count(o) + 1);
}

static void let_go(RedisModuleCtx *ctx, RedisModuleString *o)
{
	(void)ctx;
	assert_true(count(o) > 0);
	set_count(o, count(o) - 1);
	if (count(o))
		return;
	free(o->bytes);
	free(o);
	server.alive--;
}

static char *text(char with)
{
	char *bytes = malloc(BYTES);

	assert_non_null(bytes);
	memset(bytes, with, BYTES);
	return bytes;
}

static const char *bytes_of(const RedisModuleString *o, size_t *len_bytes)
{
	if (len_bytes)
		*len_bytes = o->len_bytes;
	return o->bytes;
}

static char *dma(RedisModuleKey *key, size_t *len_bytes, int mode)
{
	(void)mode;
	*len_bytes = key->value->len_bytes;
	return key->value->bytes;
}

static int set_string(RedisModuleKey *key, RedisModuleString *o)
{
	if (server.refuses)
		return REDISMODULE_ERR;
	retain(NULL, o);
	if (!server.own) {
		key->value = o;
		return REDISMODULE_OK;
	}
	char *bytes = o->bytes;

	size_t len_bytes = o->len_bytes;

	if (server.moves && count(o) == 1 && len_bytes > SHORT) {
		o->bytes = NULL;
	} else {
		bytes = text(o->bytes[0]);
		server.copies++;
	}
	let_go(NULL, o);
	key->value = make(bytes, len_bytes);
	return REDISMODULE_OK;
}

static int a_server(void **state)
{
	(void)state;
	memset(&server, 0, sizeof(server));
	server.shift = 32;
	RedisModule_RetainString = retain;
	RedisModule_FreeString = let_go;
	RedisModule_StringPtrLen = bytes_of;
	RedisModule_StringDMA = dma;
	RedisModule_StringSet = set_string;
	return 0;
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* Sets all keys, and checks that they have their values and nothing else is alive. Returns how many
 * values the server copied. */
static int load(bool hand_over)
{
	RedisModuleKey keys[VALUES];

	server.copies = 0;
	beam_load_value_begin(hand_over);
	for (int i = 0; i < VALUES; i++)
		assert_true(beam_load_value_set(
		    &keys[i], make(text((char)('a' + i)), i < server.nshort ? SHORT : BYTES)));
	assert_int_equal(server.alive, VALUES);
	for (int i = 0; i < VALUES; i++) {
		assert_int_equal(keys[i].value->bytes[0], 'a' + i);
		assert_int_equal(count(keys[i].value), 1);
		let_go(NULL, keys[i].value);
	}
	assert_int_equal(server.alive, 0);
	return server.copies;
}

static void kept_objects_are_left_alone(void **state)
{
	(void)state;
	assert_int_equal(load(true), 0);
}

static void values_are_moved_where_the_count_is_found(void **state)
{
	static const int shifts[] = {8, 32, 35, 40};

	(void)state;
	server.own = server.moves = true;
	for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
		server.shift = shifts[i];
		assert_int_equal(load(true), 1); /* the first one shows what the server does */
	}
}

static void short_values_tell_nothing(void **state)
{
	(void)state;
	server.own = server.moves = true;
	server.nshort = 3;
	assert_int_equal(load(true), server.nshort + 1);
}

static void nothing_is_handed_over_unless_allowed(void **state)
{
	(void)state;
	server.own = server.moves = true;
	assert_int_equal(load(false), VALUES);
}

static void a_server_that_copies_in_any_case(void **state)
{
	(void)state;
	server.own = true;
	assert_int_equal(load(true), VALUES);
}

static void a_count_that_is_not_found(void **state)
{
	(void)state;
	server.own = server.moves = server.elsewhere = true;
	assert_int_equal(load(true), VALUES);
}

static void a_refused_value_is_freed(void **state)
{
	RedisModuleKey key = {0};

	(void)state;
	server.own = server.moves = true;
	load(true);
	server.refuses = true;
	assert_false(beam_load_value_set(&key, make(text('x'), BYTES)));
	assert_int_equal(server.alive, 0);
	beam_load_value_begin(true);
	assert_false(beam_load_value_set(&key, make(text('x'), BYTES)));
	assert_int_equal(server.alive, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(kept_objects_are_left_alone, a_server),
	    cmocka_unit_test_setup(values_are_moved_where_the_count_is_found, a_server),
	    cmocka_unit_test_setup(short_values_tell_nothing, a_server),
	    cmocka_unit_test_setup(nothing_is_handed_over_unless_allowed, a_server),
	    cmocka_unit_test_setup(a_server_that_copies_in_any_case, a_server),
	    cmocka_unit_test_setup(a_count_that_is_not_found, a_server),
	    cmocka_unit_test_setup(a_refused_value_is_freed, a_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
