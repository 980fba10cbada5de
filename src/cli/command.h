/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a command of rdbeam(1) is: its name, its words for help and man page, its options, and the
 * function that runs it. One table of these gives dispatch, --help and the man pages.
 */
#ifndef BEAM_COMMAND_H
#define BEAM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

/* What rdbeam exits with: a contract, see the man page. */
enum beam_exit {
	BEAM_EXIT_DONE = 0,
	BEAM_EXIT_FAILED = 1,
	BEAM_EXIT_USAGE = 2,
	BEAM_EXIT_REFUSED = 3, /* access, another job in the way, not supported there */
	BEAM_EXIT_CORRUPT = 4, /* stale or corrupt data */
};

/* First member of every command's option struct. */
struct beam_common {
	bool json;
	bool quiet;
	bool help;
};

/* Rows of the options that every command has; `type` is the command's option struct. */
#define BEAM_COMMON_OPTIONS(type)                                                                  \
	{.name = "--json",                                                                         \
	 .kind = BEAM_OPT_FLAG,                                                                    \
	 .offset = offsetof(type, common.json),                                                    \
	 .help = "Print one JSON object to stdout instead of text."},                              \
	    {.name = "--quiet",                                                                    \
	     .kind = BEAM_OPT_FLAG,                                                                \
	     .offset = offsetof(type, common.quiet),                                               \
	     .help = "Show no progress."},                                                         \
	{                                                                                          \
		.name = "--help", .kind = BEAM_OPT_FLAG, .offset = offsetof(type, common.help),    \
		.help = "Print this help and exit."                                                \
	}

#define BEAM_NOPTIONS(table) (sizeof(table) / sizeof((table)[0]))

struct beam_command {
	const char *name;
	const char *synopsis; /* what stands behind the name and [options]; may be "" */
	const char *summary;  /* half a sentence, no period */
	const char *text;     /* paragraphs, an empty line between them */
	const char *examples; /* lines of "command", one each */
	const struct beam_option *options;
	size_t noptions;
	size_t opts_bytes;    /* of the command's option struct */
	const void *defaults; /* an option struct */
	int min_args, max_args;
	/* `opts` is parsed, args[0..nargs) are the positional arguments. Returns what rdbeam exits
	 * with; the line on stderr is written. */
	int (*run)(void *opts, int nargs, char **args);
};

extern const struct beam_command beam_snapshot_command;
extern const struct beam_command beam_pull_command;
extern const struct beam_command beam_relay_command;
extern const struct beam_command beam_status_command;
extern const struct beam_command beam_verify_command;
extern const struct beam_command beam_fill_command;
extern const struct beam_command beam_bench_command;
extern const struct beam_command beam_doctor_command;
extern const struct beam_command beam_help_command;

/* All commands in the order of the help; ends with NULL. */
extern const struct beam_command *const beam_commands[];

/* NULL when there is none. */
const struct beam_command *beam_command_find(const char *name);

/* The text that --help prints. */
void beam_command_help(const struct beam_command *command, FILE *out);
void beam_program_help(FILE *out);

/* The man page in roff; rdbeam(1) for NULL. */
void beam_man_print(const struct beam_command *command, FILE *out);

/* Completion for bash, of all commands. */
void beam_completion_print(FILE *out);

#endif
