/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Options as data: parser and help from one table. Error texts are "what: value: remedy", so a
 * program only has to put its name in front.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HELP_COLUMNS     80
#define HELP_TEXT_COLUMN 26

int beam_parse_bytes(const char *text, uint64_t *bytes)
{
	static const struct {
		const char *suffix;
		uint64_t factor;
	} units[] = {
	    {"", 1},
	    {"b", 1},
	    {"k", 1000},
	    {"kb", 1024},
	    {"m", 1000 * 1000},
	    {"mb", 1024 * 1024},
	    {"g", 1000 * 1000 * 1000},
	    {"gb", 1024 * 1024 * 1024},
	};
	unsigned long long number;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcasecmp(end, units[i].suffix) != 0)
			continue;
		if (number > UINT64_MAX / units[i].factor)
			return -ERANGE;
		*bytes = number * units[i].factor;
		return 0;
	}
	return -EINVAL;
}

static bool choice_allowed(const char *choices, const char *text)
{
	size_t len = strlen(text);

	while (*choices) {
		size_t word = strcspn(choices, "|");

		if (word == len && memcmp(choices, text, len) == 0)
			return true;
		choices += word;
		if (*choices == '|')
			choices++;
	}
	return false;
}

static bool in_range(const struct beam_option *option, int64_t value)
{
	if (option->min == 0 && option->max == 0)
		return true;
	return value >= option->min && value <= option->max;
}

static int refuse_number(const struct beam_option *option, const char *text, const char *what,
			 char *error, size_t error_cap)
{
	if (option->min == 0 && option->max == 0)
		snprintf(error, error_cap, "%s: %s: give %s", option->name, text, what);
	else if (option->max == INT64_MAX)
		snprintf(error, error_cap, "%s: %s: give %s from %" PRId64 " up", option->name,
			 text, what, option->min);
	else
		snprintf(error, error_cap, "%s: %s: give %s from %" PRId64 " to %" PRId64,
			 option->name, text, what, option->min, option->max);
	return -EINVAL;
}

static int set_int(const struct beam_option *option, const char *text, int64_t *field, char *error,
		   size_t error_cap)
{
	long long value;
	char *end;

	errno = 0;
	value = strtoll(text, &end, 10);
	/* strtoll would skip leading space and accept "+5", which are not allowed here. */
	if (errno || *end || !(isdigit((unsigned char)text[0]) || text[0] == '-') ||
	    !in_range(option, value))
		return refuse_number(option, text, "a whole number", error, error_cap);
	*field = value;
	return 0;
}

static int set_bytes(const struct beam_option *option, const char *text, uint64_t *field,
		     char *error, size_t error_cap)
{
	static const char *const what = "bytes, such as 1048576, 512kb, 64mb or 4gb,";
	uint64_t value;

	if (beam_parse_bytes(text, &value) != 0)
		return refuse_number(option, text, what, error, error_cap);
	if (value > INT64_MAX || !in_range(option, (int64_t)value))
		return refuse_number(option, text, what, error, error_cap);
	*field = value;
	return 0;
}

static int set_value(const struct beam_option *option, void *target, const char *text, char *error,
		     size_t error_cap)
{
	void *field = (char *)target + option->offset;

	switch (option->kind) {
	case BEAM_OPT_FLAG:
		*(bool *)field = true;
		return 0;
	case BEAM_OPT_STRING:
		*(const char **)field = text;
		return 0;
	case BEAM_OPT_INT:
		return set_int(option, text, field, error, error_cap);
	case BEAM_OPT_BYTES:
		return set_bytes(option, text, field, error, error_cap);
	case BEAM_OPT_CHOICE:
		if (choice_allowed(option->choices, text)) {
			*(const char **)field = text;
			return 0;
		}
		snprintf(error, error_cap, "%s: %s: give one of %s", option->name, text,
			 option->choices);
		return -EINVAL;
	}
	return -EINVAL;
}

/* Finds the option that `arg` names. *inline_value points to what follows the '=' of
 * "--name=value", or is NULL. */
static const struct beam_option *find_option(const struct beam_option *table, size_t noptions,
					     const char *arg, const char **inline_value)
{
	bool is_long = arg[1] == '-';
	size_t len = is_long ? strcspn(arg, "=") : strlen(arg);

	*inline_value = arg[len] == '=' ? arg + len + 1 : NULL;
	for (size_t i = 0; i < noptions; i++) {
		const struct beam_option *option = &table[i];

		if (strlen(option->name) == len && memcmp(option->name, arg, len) == 0)
			return option;
		if (!is_long && option->letter && arg[1] == option->letter && arg[2] == '\0')
			return option;
	}
	return NULL;
}

bool beam_is_slip(const char *typed, size_t len_bytes, const char *name)
{
	size_t most = strlen(name), at = 0;

	if (len_bytes < 4)
		return false; /* too little to tell by */
	while (at < len_bytes && at < most && typed[at] == name[at])
		at++;
	while (len_bytes > at && most > at && typed[len_bytes - 1] == name[most - 1]) {
		len_bytes--;
		most--;
	}
	/* What remains is what differs. */
	if (len_bytes - at == 2 && most - at == 2)
		return typed[at] == name[at + 1] && typed[at + 1] == name[at];
	return len_bytes == at || (len_bytes - at == 1 && most - at <= 1);
}

/* The value after '=' is not repeated: it may be a secret meant for another option. */
static int refuse_unknown(const struct beam_option *table, size_t noptions, const char *arg,
			  char *error, size_t error_cap)
{
	size_t len = strcspn(arg, "=");
	size_t i = 0;

	while (i < noptions && !beam_is_slip(arg, len, table[i].name))
		i++;
	if (i < noptions)
		snprintf(error, error_cap, "unknown option: %.*s: did you mean %s?", (int)len, arg,
			 table[i].name);
	else
		snprintf(error, error_cap, "unknown option: %.*s: --help lists the options",
			 (int)len, arg);
	return -EINVAL;
}

/* Takes the option at argv[at] and its value. Returns the number of arguments used, or -EINVAL. */
static int take_option(const struct beam_option *table, size_t noptions, void *target, int argc,
		       char **argv, int at, char *error, size_t error_cap)
{
	const struct beam_option *option;
	const char *value;
	int code;

	option = find_option(table, noptions, argv[at], &value);
	if (!option)
		return refuse_unknown(table, noptions, argv[at], error, error_cap);
	if (option->kind == BEAM_OPT_FLAG) {
		if (value) {
			snprintf(error, error_cap, "%s: %s: the option takes no value",
				 option->name, value);
			return -EINVAL;
		}
		return set_value(option, target, NULL, error, error_cap) ? -EINVAL : 1;
	}
	if (value) {
		code = set_value(option, target, value, error, error_cap);
		return code ? code : 1;
	}
	if (at + 1 >= argc) {
		snprintf(error, error_cap, "%s: no value: give %s after it", option->name,
			 option->value ? option->value : "a value");
		return -EINVAL;
	}
	code = set_value(option, target, argv[at + 1], error, error_cap);
	return code ? code : 2;
}

int beam_options_parse(const struct beam_option *table, size_t noptions, void *target, int *argc,
		       char **argv, char *error, size_t error_cap)
{
	bool options_ended = false;
	int nrest = 0;
	int at = 1;

	while (at < *argc) {
		char *arg = argv[at];

		if (options_ended || arg[0] != '-' || arg[1] == '\0') {
			argv[1 + nrest++] = arg;
			at++;
		} else if (strcmp(arg, "--") == 0) {
			options_ended = true;
			at++;
		} else {
			int taken =
			    take_option(table, noptions, target, *argc, argv, at, error, error_cap);

			if (taken < 0)
				return taken;
			at += taken;
		}
	}
	*argc = 1 + nrest;
	return 0;
}

/* Prints `text` from `column` on, wrapped; further lines start at HELP_TEXT_COLUMN. */
static void print_wrapped(const char *text, int column, FILE *out)
{
	while (*text) {
		int word = (int)strcspn(text, " ");

		if (column > HELP_TEXT_COLUMN && column + 1 + word > HELP_COLUMNS) {
			fprintf(out, "\n%*s", HELP_TEXT_COLUMN, "");
			column = HELP_TEXT_COLUMN;
		} else if (column > HELP_TEXT_COLUMN) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", word, text);
		column += word;
		text += word;
		while (*text == ' ')
			text++;
	}
	fputc('\n', out);
}

void beam_options_help(const struct beam_option *table, size_t noptions, FILE *out)
{
	for (size_t i = 0; i < noptions; i++) {
		const struct beam_option *option = &table[i];
		int column;

		if (option->letter)
			column = fprintf(out, "  -%c, %s", option->letter, option->name);
		else
			column = fprintf(out, "  %s", option->name);
		if (option->kind != BEAM_OPT_FLAG)
			column += fprintf(out, " %s",
					  option->kind == BEAM_OPT_CHOICE ? option->choices
					  : option->value                 ? option->value
									  : "VALUE");
		if (column + 2 > HELP_TEXT_COLUMN) {
			fputc('\n', out);
			column = 0;
		}
		fprintf(out, "%*s", HELP_TEXT_COLUMN - column, "");
		print_wrapped(option->help, HELP_TEXT_COLUMN, out);
	}
}
