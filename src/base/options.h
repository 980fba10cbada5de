/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Options as data: one table gives the parser, --help, and the man pages.
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
	const char *name; /* "--to-file"; one name may be short: "-h" */
	char letter;      /* 0 or 'h' for -h */
	enum beam_option_kind kind;
	size_t offset;       /* of the field in the command's struct */
	const char *value;   /* name of the value in help: "PATH"; NULL for flags */
	const char *choices; /* "auto|tcp|verbs" for CHOICE */
	int64_t min, max;    /* for INT and BYTES; both 0: any */
	const char *help;    /* one sentence; ends in the default if there is one */
};

/* Parses argv[1..argc) into `target`. Options may stand anywhere; "--" ends them; "--name=value"
 * and "--name value" both work; the last of two wins. Positional arguments are moved to the front
 * of argv + 1, and *argc becomes 1 + their number. `target` may be half filled after a failure.
 * 0; -EINVAL with a line in `error` that names the option, the value and what is allowed. */
int beam_options_parse(const struct beam_option *table, size_t noptions, void *target, int *argc,
		       char **argv, char *error, size_t error_cap);

/* Prints the table's rows for --help, wrapped at 80 columns. */
void beam_options_help(const struct beam_option *table, size_t noptions, FILE *out);

/* Parses "512mb", "4gb", "100" (bytes) as redis.conf does (k = 1000, kb = 1024, ...).
 * 0 or -EINVAL / -ERANGE. */
int beam_parse_bytes(const char *text, uint64_t *bytes);

#endif
