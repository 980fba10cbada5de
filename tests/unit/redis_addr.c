/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Addresses of servers: the accepted forms; and a refused address changes nothing.
 */
#include "redis.h"

#include <errno.h>
#include <string.h>

#include "rdbeam/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct beam_redis_addr start(void)
{
	struct beam_redis_addr addr = {.host = "before", .port = 6379};

	return addr;
}

static void forms_that_are_taken(void **state)
{
	static const struct {
		const char *text;
		const char *host;
		uint32_t port;
		bool is_unix;
		const char *user, *password;
	} cases[] = {
	    {"db1", "db1", 6379, false, "", ""},
	    {"db1:7000", "db1", 7000, false, "", ""},
	    {"10.0.0.1:65535", "10.0.0.1", 65535, false, "", ""},
	    {"::1", "::1", 6379, false, "", ""},
	    {"[::1]", "::1", 6379, false, "", ""},
	    {"[fe80::2]:7001", "fe80::2", 7001, false, "", ""},
	    {"/run/redis.sock", "/run/redis.sock", 6379, true, "", ""},
	    {"redis://", "before", 6379, false, "", ""},
	    {"redis:///3", "before", 6379, false, "", ""},
	    {"redis://db1/0", "db1", 6379, false, "", ""},
	    {"redis://db1:7000", "db1", 7000, false, "", ""},
	    {"redis://[::1]:7000/1", "::1", 7000, false, "", ""},
	    {"redis://secret@db1", "db1", 6379, false, "", "secret"},
	    {"redis://bob:secret@db1:7", "db1", 7, false, "bob", "secret"},
	    {"redis://bob:p%40ss%3a%2Fx@db1", "db1", 6379, false, "bob", "p@ss:/x"},
	    {"redis://bob:a@b@db1", "db1", 6379, false, "bob", "a@b"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct beam_redis_addr addr = start();

		assert_int_equal(beam_redis_parse_addr(cases[i].text, &addr), 0);
		assert_string_equal(addr.host, cases[i].host);
		assert_int_equal(addr.port, cases[i].port);
		assert_int_equal(addr.is_unix, cases[i].is_unix);
		assert_string_equal(addr.user, cases[i].user);
		assert_string_equal(addr.password, cases[i].password);
	}
}

static void refused_forms_change_nothing(void **state)
{
	static const char *const cases[] = {
	    "",
	    ":",
	    ":7000",
	    "db1:",
	    "db1:0",
	    "db1:65536",
	    "db1:7x",
	    "db1:007000",
	    "[::1",
	    "[]:7000",
	    "[::1]x",
	    "ftp://db1",
	    "a b",
	    "user@db1",
	    "redis://db1:x",
	    "redis://db1/x",
	    "redis://a:%zz@db1",
	    "redis://a:%4@db1",
	    "redis://a:%00@db1",
	};
	char long_host[400];

	(void)state;
	for (size_t i = 0; i <= sizeof(cases) / sizeof(cases[0]); i++) {
		struct beam_redis_addr addr = start(), before = start();
		const char *text = long_host;

		memset(long_host, 'h', sizeof(long_host) - 1);
		long_host[sizeof(long_host) - 1] = '\0';
		if (i < sizeof(cases) / sizeof(cases[0]))
			text = cases[i];
		assert_int_equal(beam_redis_parse_addr(text, &addr), -EINVAL);
		assert_memory_equal(&addr, &before, sizeof(addr));
	}
}

static void tls_is_told_apart(void **state)
{
	struct beam_redis_addr addr = start();

	(void)state;
	assert_int_equal(beam_redis_parse_addr("redis://db1", &addr), 0);
	assert_false(addr.use_tls);
	assert_int_equal(beam_redis_parse_addr("rediss://:pw@db2:7000", &addr), 0);
	assert_true(addr.use_tls);
	assert_string_equal(addr.host, "db2");
	assert_int_equal(addr.port, 7000);
	assert_string_equal(addr.password, "pw");
	assert_int_equal(beam_redis_parse_addr("redisss://db1", &addr), -EINVAL);
}

static void info_fields_are_whole_lines(void **state)
{
	static const char info[] = "# Server\r\nredis_version:7.0.15\r\nnot_redis_mode:x\r\n"
				   "redis_mode:standalone\r\nempty:\r\nlast:1";
	char out[16];

	(void)state;
	assert_int_equal(beam_redis_info_field(info, "redis_version", out, sizeof(out)), 0);
	assert_string_equal(out, "7.0.15");
	assert_int_equal(beam_redis_info_field(info, "redis_mode", out, sizeof(out)), 0);
	assert_string_equal(out, "standalone");
	assert_int_equal(beam_redis_info_field(info, "empty", out, sizeof(out)), 0);
	assert_string_equal(out, "");
	assert_int_equal(beam_redis_info_field(info, "last", out, sizeof(out)), 0);
	assert_string_equal(out, "1");
	assert_int_equal(beam_redis_info_field(info, "redis", out, sizeof(out)), -ENOENT);
	assert_int_equal(beam_redis_info_field(info, "redis_mode", out, 10), -ERANGE);
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(forms_that_are_taken),
	    cmocka_unit_test(refused_forms_change_nothing),
	    cmocka_unit_test(tls_is_told_apart),
	    cmocka_unit_test(info_fields_are_whole_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
