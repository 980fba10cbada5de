/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A replica's commands: complete, in pieces, and hostile.
 */
#include <string.h>

#include "rdbeam/error.h"
#include "resp.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int parse(const char *text, struct beam_resp_command *command)
{
	return beam_resp_parse((const uint8_t *)text, strlen(text), command);
}

static void test_takes_one_command_and_leaves_the_next(void **state)
{
	static const char text[] =
	    "*3\r\n$8\r\nreplconf\r\n$3\r\nACK\r\n$2\r\n42\r\n*1\r\n$4\r\nPING\r\n";
	struct beam_resp_command command;
	int used = parse(text, &command);

	(void)state;
	assert_int_equal(used, 35);
	assert_int_equal(command.nargs, 3);
	assert_true(beam_resp_is(&command, 0, "REPLCONF"));
	assert_true(beam_resp_is(&command, 2, "42"));
	assert_false(beam_resp_is(&command, 3, "PING"));
	assert_int_equal(parse(text + used, &command), 14);
	assert_true(beam_resp_is(&command, 0, "PING"));
}

static void test_every_prefix_asks_for_more(void **state)
{
	static const char text[] = "*2\r\n$5\r\nPSYNC\r\n$0\r\n\r\n";
	struct beam_resp_command command;

	(void)state;
	for (size_t n = 0; n < sizeof(text) - 1; n++)
		assert_int_equal(beam_resp_parse((const uint8_t *)text, n, &command), 0);
	assert_int_equal(parse(text, &command), sizeof(text) - 1);
	assert_int_equal(command.args[1].len_bytes, 0);
}

static void test_hostile_input_is_refused(void **state)
{
	static const char *const bad[] = {
	    "PING\r\n",
	    "*0\r\n",
	    "*-1\r\n",
	    "*17\r\n",
	    "*1000000000000\r\n",
	    "*1\r\n+OK\r\n",
	    "*1\r\n$-1\r\n",
	    "*1\r\n$8193\r\n",
	    "*2\r\n$999999\r\n",
	    "*1\r\n$4\r\nPINGPONG",
	    "*1x\r\n",
	    "*1\rx",
	    "*\r\n",
	};
	struct beam_resp_command command;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i], &command), BEAM_E_PROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_takes_one_command_and_leaves_the_next),
	    cmocka_unit_test(test_every_prefix_asks_for_more),
	    cmocka_unit_test(test_hostile_input_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
