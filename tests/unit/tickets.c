/* SPDX-License-Identifier: BSD-3-Clause
 * The store of tickets: one use, a short time, one address, a bounded number. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tickets.h"

#define NOW 1000000ull

static struct tickets *store;

static int setup(void **state)
{
	(void)state;
	store = calloc(1, sizeof(*store));
	return store ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(store);
	return 0;
}

static struct beam_ctl_ticket make(uint32_t n, const char *addr, uint32_t ttl_ms)
{
	struct beam_ctl_ticket t = {.gen = {.nonce = 7, .counter = n}, .ttl_ms = ttl_ms};

	memcpy(t.id, &n, sizeof(n));
	memset(t.key, 0xa5, sizeof(t.key));
	snprintf(t.addr, sizeof(t.addr), "%s", addr);
	return t;
}

static void add(uint32_t n, const char *addr, uint32_t ttl_ms)
{
	struct beam_ctl_ticket t = make(n, addr, ttl_ms);

	assert_int_equal(tickets_add(store, &t, NOW), 0);
}

static struct ticket *find(uint32_t n, const char *addr, uint64_t now_ms, const char **why)
{
	uint8_t id[BEAM_TICKET_ID_BYTES] = {0};

	memcpy(id, &n, sizeof(n));
	return tickets_find(store, id, addr, now_ms, why);
}

static void is_good_once(void **state)
{
	const char *why = NULL;

	(void)state;
	add(1, "10.0.0.1", 5000);
	add(2, "10.0.0.1", 5000);
	struct ticket *t = find(1, "10.0.0.1", NOW, &why);

	assert_non_null(t);
	assert_int_equal(t->gen.counter, 1);
	tickets_spend(t);
	for (size_t i = 0; i < sizeof(t->key); i++)
		assert_int_equal(t->key[i], 0);
	assert_null(find(1, "10.0.0.1", NOW, &why));
	assert_string_equal(why, "unknown or used before");
	assert_non_null(find(2, "10.0.0.1", NOW, &why));
}

static void ends_with_its_time(void **state)
{
	const char *why = NULL;

	(void)state;
	add(1, "10.0.0.1", 5000);
	assert_non_null(find(1, "10.0.0.1", NOW + 4999, &why));
	assert_null(find(1, "10.0.0.1", NOW + 5000, &why));
	assert_string_equal(why, "expired");
	assert_null(find(1, "10.0.0.1", NOW, &why));
}

static void is_bound_to_its_address(void **state)
{
	const char *why = NULL;

	(void)state;
	add(1, "10.0.0.1", 5000);
	assert_null(find(1, "10.0.0.2", NOW, &why));
	assert_string_equal(why, "bound to another address");
	assert_null(find(1, "no address", NOW, &why));
	assert_non_null(find(1, "::ffff:10.0.0.1", NOW, &why));
	add(2, "fe80::1%eth0", 5000);
	assert_non_null(find(2, "fe80:0::1", NOW, &why));
	assert_null(find(2, "fe80::2", NOW, &why));
}

static void refuses_no_address_and_no_time(void **state)
{
	struct beam_ctl_ticket t = make(1, "", 5000);

	(void)state;
	assert_int_equal(tickets_add(store, &t, NOW), -EINVAL);
	t = make(1, "10.0.0.1", 0);
	assert_int_equal(tickets_add(store, &t, NOW), -EINVAL);
	memset(t.addr, '1', sizeof(t.addr));
	t.ttl_ms = 5000;
	assert_int_equal(tickets_add(store, &t, NOW), -EINVAL);
}

static void the_one_nearest_its_end_makes_room(void **state)
{
	const char *why = NULL;

	(void)state;
	for (uint32_t n = 1; n <= TICKETS_MAX; n++)
		add(n, "10.0.0.1", n == 17 ? 1000 : 5000);
	add(TICKETS_MAX + 1, "10.0.0.1", 5000);
	assert_null(find(17, "10.0.0.1", NOW, &why));
	for (uint32_t n = 1; n <= TICKETS_MAX + 1; n++)
		if (n != 17)
			assert_non_null(find(n, "10.0.0.1", NOW, &why));
}

static void names_a_generation_while_unused(void **state)
{
	struct beam_gen gen = {.nonce = 7, .counter = 1}, other = {.nonce = 7, .counter = 2};
	const char *why;

	(void)state;
	add(1, "10.0.0.1", 5000);
	assert_true(tickets_name(store, gen, NOW));
	assert_false(tickets_name(store, other, NOW));
	assert_false(tickets_name(store, gen, NOW + 5000));
	tickets_spend(find(1, "10.0.0.1", NOW, &why));
	assert_false(tickets_name(store, gen, NOW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(is_good_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(ends_with_its_time, setup, teardown),
	    cmocka_unit_test_setup_teardown(is_bound_to_its_address, setup, teardown),
	    cmocka_unit_test_setup_teardown(refuses_no_address_and_no_time, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_one_nearest_its_end_makes_room, setup, teardown),
	    cmocka_unit_test_setup_teardown(names_a_generation_while_unused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
