/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Options as data: one table provides the parser, --help, and the man pages.
 */
#ifndef BEAM_OPTIONS_H
#define BEAM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum beam_option_kind {
	BEAM_OPT_FLAG,   /* bool, no value */
	BEAM_OPT_STRING, /* const char *, points into argv */
	BEAM_OPT_INT,    /* int64_t, decimal, within min..max */
	BEAM_OPT_BYTES,  /* uint64_t, with kb, mb, gb suffixes as in redis.conf */
	BEAM_OPT_CHOICE, /* const char *, one of `choices` */
};

struct beam_option {
	const char *name; /* "--to-file"; may also be a short name: "-h" */
	char letter;      /* 'h' for -h, or 0 */
	enum beam_option_kind kind;
	size_t offset;       /* of the field in the command's struct */
	const char *value;   /* name of the value in help texts: "PATH"; NULL for flags */
	const char *choices; /* "auto|tcp|verbs" for CHOICE */
	int64_t min, max;    /* for INT and BYTES; both 0: no limits */
	const char *help;    /* one sentence, which ends with the default if there is one */
};

/* Parses argv[1..argc) into `target`. Options may appear anywhere; "--" ends them. "--name=value"
 * and "--name value" both work; if an option is given twice the last one wins. Positional arguments
 * are moved to the front of argv + 1, and *argc becomes 1 + their number. 0; or -EINVAL with a line
 * in `error` that names the option, the value and what is allowed; `target` may then be partly
 * filled in. */
int beam_options_parse(const struct beam_option *table, size_t noptions, void *target, int *argc,
		       char **argv, char *error, size_t error_cap);

/* Whether `typed`, of len_bytes, is `name` with a slip: one letter too many or wrong, two neighbours
 * exchanged, or letters missing in one place. */
bool beam_is_slip(const char *typed, size_t len_bytes, const char *name);

/* Prints the options for --help, wrapped at 80 columns. */
void beam_options_help(const struct beam_option *table, size_t noptions, FILE *out);

/* Parses "512mb", "4gb", "100" (bytes) as redis.conf does (k = 1000, kb = 1024, ...). 0, -EINVAL or
 * -ERANGE. */
int beam_parse_bytes(const char *text, uint64_t *bytes);

#endif
