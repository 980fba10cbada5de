/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A command of rdbeam(1): its name, its texts for help and man page, its options, and the function
 * that runs it. From one table of these come the dispatch, --help and the man pages.
 */
#ifndef BEAM_COMMAND_H
#define BEAM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

/* rdbeam's exit codes. They are stable; see the man page. */
enum beam_exit {
	BEAM_EXIT_DONE = 0,
	BEAM_EXIT_FAILED = 1,
	BEAM_EXIT_USAGE = 2,
	BEAM_EXIT_REFUSED = 3, /* no access, another job in the way, or not supported there */
	BEAM_EXIT_CORRUPT = 4, /* stale or corrupt data */
};

/* First member of every command's option struct. */
struct beam_common {
	bool json;
	bool quiet;
	bool help;
};

/* Table rows of the options common to all commands; `type` is the command's option struct. */
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
	const char *synopsis; /* what follows the name and [options]; may be "" */
	const char *summary;  /* half a sentence, no period */
	const char *text;     /* paragraphs, separated by an empty line */
	const char *examples; /* one command per line */
	const struct beam_option *options;
	size_t noptions;
	size_t opts_bytes;    /* size of the command's option struct */
	const void *defaults; /* an option struct */
	int min_args, max_args;
	/* Runs the command. `opts` is parsed; args[0..nargs) are the positional arguments. Returns
	 * rdbeam's exit code; an error's line was written to stderr. */
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

/* All commands in the order of the help, ending with NULL. */
extern const struct beam_command *const beam_commands[];

/* Finds a command by name; NULL when there is none. */
const struct beam_command *beam_command_find(const char *name);

/* Refuses a name that is no command's, and names the one that may be meant. `common` as for
 * beam_fail_usage. Returns BEAM_EXIT_USAGE. */
int beam_command_unknown(const struct beam_common *common, const char *name);

/* Print the text of --help. */
void beam_command_help(const struct beam_command *command, FILE *out);
void beam_program_help(FILE *out);

/* Prints the man page in roff; rdbeam(1) for NULL. */
void beam_man_print(const struct beam_command *command, FILE *out);

/* Prints the bash completion for all commands. */
void beam_completion_print(FILE *out);

#endif
