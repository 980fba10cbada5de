/* SPDX-License-Identifier: BSD-3-Clause
 * Option tables: what is parsed, what is refused and with what message, and the layout of the help
 * text. */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ARGS_MAX 16

struct sample {
	bool force;
	const char *file;
	int64_t number;
	int64_t any;
	uint64_t size;
	const char *mode;
};

static const struct beam_option table[] = {
    {.name = "--force",
     .letter = 'f',
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct sample, force),
     .help = "Do it anyway."},
    {.name = "--to-file",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct sample, file),
     .value = "PATH",
     .help = "Write to a file whose name is long enough to make this text wrap at the end."},
    {.name = "-p",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct sample, number),
     .value = "PORT",
     .min = 1,
     .max = 65535,
     .help = "Port."},
    {.name = "--any",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct sample, any),
     .value = "N",
     .help = "Any number."},
    {.name = "--size",
     .kind = BEAM_OPT_BYTES,
     .offset = offsetof(struct sample, size),
     .value = "BYTES",
     .min = 1024,
     .max = 1ll << 40,
     .help = "Size."},
    {.name = "--a-name-that-fills-its-column",
     .kind = BEAM_OPT_CHOICE,
     .offset = offsetof(struct sample, mode),
     .choices = "auto|tcp|verbs",
     .help = "Mode."},
};
#define NOPTIONS (sizeof(table) / sizeof(table[0]))

/* Splits a command line at spaces and parses it. */
struct parsed {
	struct sample got;
	int code;
	int argc;
	char *argv[ARGS_MAX];
	char error[256];
	char text[256];
};

static void parse(struct parsed *parsed, const char *line)
{
	char *save = NULL;

	memset(parsed, 0, sizeof(*parsed));
	snprintf(parsed->text, sizeof(parsed->text), "program %s", line);
	for (char *word = strtok_r(parsed->text, " ", &save); word && parsed->argc < ARGS_MAX;
	     word = strtok_r(NULL, " ", &save))
		parsed->argv[parsed->argc++] = word;
	parsed->code = beam_options_parse(table, NOPTIONS, &parsed->got, &parsed->argc,
					  parsed->argv, parsed->error, sizeof(parsed->error));
}

static void every_kind_is_parsed(void **state)
{
	struct parsed p;

	(void)state;
	parse(&p, "--force --to-file out.rdb -p 7000 --any -5 --size 4mb "
		  "--a-name-that-fills-its-column verbs");
	assert_int_equal(p.code, 0);
	assert_true(p.got.force);
	assert_string_equal(p.got.file, "out.rdb");
	assert_int_equal(p.got.number, 7000);
	assert_int_equal(p.got.any, -5);
	assert_int_equal(p.got.size, 4u << 20);
	assert_string_equal(p.got.mode, "verbs");
	assert_int_equal(p.argc, 1);
}

static void values_may_follow_an_equals_sign(void **state)
{
	struct parsed p;

	(void)state;
	parse(&p, "--to-file=a=b --size=1k2 ");
	assert_int_equal(p.code, -EINVAL);
	parse(&p, "--to-file=a=b --size=2k --any=9");
	assert_int_equal(p.code, 0);
	assert_string_equal(p.got.file, "a=b");
	assert_int_equal(p.got.size, 2000);
	assert_int_equal(p.got.any, 9);
}

static void positional_arguments_move_to_the_front(void **state)
{
	struct parsed p;

	(void)state;
	parse(&p, "one -f two - -p 1 -- --force -x");
	assert_int_equal(p.code, 0);
	assert_int_equal(p.argc, 6);
	assert_string_equal(p.argv[1], "one");
	assert_string_equal(p.argv[2], "two");
	assert_string_equal(p.argv[3], "-");
	assert_string_equal(p.argv[4], "--force");
	assert_string_equal(p.argv[5], "-x");
	assert_true(p.got.force);
	assert_int_equal(p.got.number, 1);
}

static void the_last_of_two_wins(void **state)
{
	struct parsed p;

	(void)state;
	parse(&p, "-p 1 -p 2");
	assert_int_equal(p.code, 0);
	assert_int_equal(p.got.number, 2);
}

static void refusals_name_option_value_and_remedy(void **state)
{
	static const struct {
		const char *line;
		const char *error;
	} cases[] = {
	    {"--nope", "unknown option: --nope: --help lists the options"},
	    {"--nope=secret", "unknown option: --nope: --help lists the options"},
	    {"-q", "unknown option: -q: --help lists the options"},
	    {"--forc", "unknown option: --forc: did you mean --force?"},
	    {"--froce", "unknown option: --froce: did you mean --force?"},
	    {"--forcee", "unknown option: --forcee: did you mean --force?"},
	    {"--to-fils=secret", "unknown option: --to-fils: did you mean --to-file?"},
	    {"--file", "unknown option: --file: did you mean --to-file?"},
	    {"--orcefs", "unknown option: --orcefs: --help lists the options"},
	    {"-p", "-p: no value: give PORT after it"},
	    {"-p 0", "-p: 0: give a whole number from 1 to 65535"},
	    {"-p 65536", "-p: 65536: give a whole number from 1 to 65535"},
	    {"-p 12x", "-p: 12x: give a whole number from 1 to 65535"},
	    {"-p +1", "-p: +1: give a whole number from 1 to 65535"},
	    {"--any 99999999999999999999", "--any: 99999999999999999999: give a whole number"},
	    {"--force=1", "--force: 1: the option takes no value"},
	    {"--size 1023",
	     "--size: 1023: give bytes, such as 1048576, 512kb, 64mb or 4gb, from 1024 "
	     "to 1099511627776"},
	    {"--size 9999999999gb",
	     "--size: 9999999999gb: give bytes, such as 1048576, 512kb, 64mb or "
	     "4gb, from 1024 to 1099511627776"},
	    {"--a-name-that-fills-its-column tc",
	     "--a-name-that-fills-its-column: tc: give one of auto|tcp|verbs"},
	    {"--a-name-that-fills-its-column auto|tcp",
	     "--a-name-that-fills-its-column: auto|tcp: give one of auto|tcp|verbs"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct parsed p;

		parse(&p, cases[i].line);
		assert_int_equal(p.code, -EINVAL);
		assert_string_equal(p.error, cases[i].error);
	}
}

static void bytes_are_read_as_in_redis_conf(void **state)
{
	static const struct {
		const char *text;
		int code;
		uint64_t bytes;
	} cases[] = {
	    {"0", 0, 0},
	    {"100", 0, 100},
	    {"7b", 0, 7},
	    {"1k", 0, 1000},
	    {"1kb", 0, 1024},
	    {"1K", 0, 1000},
	    {"1Kb", 0, 1024},
	    {"3m", 0, 3000000},
	    {"3MB", 0, 3u << 20},
	    {"2g", 0, 2000000000},
	    {"2gb", 0, 2ull << 30},
	    {"17179869183gb", 0, 17179869183ull << 30},
	    {"17179869184gb", -ERANGE, 0},
	    {"18446744073709551615", 0, UINT64_MAX},
	    {"18446744073709551616", -ERANGE, 0},
	    {"", -EINVAL, 0},
	    {"kb", -EINVAL, 0},
	    {"-1", -EINVAL, 0},
	    {" 1", -EINVAL, 0},
	    {"1 kb", -EINVAL, 0},
	    {"1.5gb", -EINVAL, 0},
	    {"1tb", -EINVAL, 0},
	    {"0x10", -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 0;

		assert_int_equal(beam_parse_bytes(cases[i].text, &bytes), cases[i].code);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void help_wraps_at_eighty_columns(void **state)
{
	static const char expected[] =
	    "  -f, --force             Do it anyway.\n"
	    "  --to-file PATH          Write to a file whose name is long enough to make this\n"
	    "                          text wrap at the end.\n"
	    "  -p PORT                 Port.\n"
	    "  --any N                 Any number.\n"
	    "  --size BYTES            Size.\n"
	    "  --a-name-that-fills-its-column auto|tcp|verbs\n"
	    "                          Mode.\n";
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	assert_non_null(out);
	beam_options_help(table, NOPTIONS, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_kind_is_parsed),
	    cmocka_unit_test(values_may_follow_an_equals_sign),
	    cmocka_unit_test(positional_arguments_move_to_the_front),
	    cmocka_unit_test(the_last_of_two_wins),
	    cmocka_unit_test(refusals_name_option_value_and_remedy),
	    cmocka_unit_test(bytes_are_read_as_in_redis_conf),
	    cmocka_unit_test(help_wraps_at_eighty_columns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
