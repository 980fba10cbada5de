/* SPDX-License-Identifier: BSD-3-Clause
 * When a key expires, on servers that only tell the time left (Redis before 7.0.5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "expire.h"

#define ASKED 20000

static mstime_t ends;

/* Computes it as such a server does: from the current time, and never below 0. */
static mstime_t what_is_left(RedisModuleKey *key)
{
	mstime_t left = ends - (mstime_t)beam_wall_ms();

	(void)key;
	return ends == REDISMODULE_NO_EXPIRE ? ends : left > 0 ? left : 0;
}

static mstime_t the_end(RedisModuleKey *key)
{
	(void)key;
	return 12345;
}

static int of_an_old_server(void **state)
{
	(void)state;
	RedisModule_GetAbsExpire = NULL;
	RedisModule_GetExpire = what_is_left;
	return 0;
}

/* Runs over several milliseconds, so that the clock ticks between the calls. */
static void it_is_exact(void **state)
{
	(void)state;
	ends = (mstime_t)beam_wall_ms() + 1000000;
	for (int i = 0; i < ASKED; i++)
		assert_int_equal(beam_key_expire(NULL), ends);
}

static void none_is_none(void **state)
{
	(void)state;
	ends = REDISMODULE_NO_EXPIRE;
	assert_int_equal(beam_key_expire(NULL), REDISMODULE_NO_EXPIRE);
}

static void what_has_ended_ends_now(void **state)
{
	mstime_t before = (mstime_t)beam_wall_ms();

	(void)state;
	ends = before - 5000;
	mstime_t said = beam_key_expire(NULL);

	assert_in_range(said, before, beam_wall_ms());
}

static void a_newer_server_is_asked_for_the_end(void **state)
{
	(void)state;
	RedisModule_GetAbsExpire = the_end;
	assert_int_equal(beam_key_expire(NULL), 12345);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(it_is_exact, of_an_old_server),
	    cmocka_unit_test_setup(none_is_none, of_an_old_server),
	    cmocka_unit_test_setup(what_has_ended_ends_now, of_an_old_server),
	    cmocka_unit_test_setup(a_newer_server_is_asked_for_the_end, of_an_old_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
