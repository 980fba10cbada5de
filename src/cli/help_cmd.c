/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam help, and the text of --help.
 */
#include <string.h>

#include "command.h"
#include "report.h"

struct help_opts {
	struct beam_common common;
	bool man;
	bool completion;
};

static const struct beam_option help_options[] = {
    {.name = "--man",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct help_opts, man),
     .help = "Print the man page in roff: of rdbeam, or of COMMAND."},
    {.name = "--completion",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct help_opts, completion),
     .help = "Print the script that makes bash complete commands and options."},
    BEAM_COMMON_OPTIONS(struct help_opts),
};

static const struct help_opts help_defaults;

void beam_program_help(FILE *out)
{
	fputs("Usage: rdbeam COMMAND [options]\n\n"
	      "Make, pull, watch and check snapshots of Redis and Valkey.\n\n"
	      "Commands:\n",
	      out);
	for (size_t i = 0; beam_commands[i]; i++)
		fprintf(out, "  %-10s %s\n", beam_commands[i]->name, beam_commands[i]->summary);
	fputs("\nrdbeam COMMAND --help lists a command's options; rdbeam --version prints the "
	      "version.\n"
	      "Exit status: 0 done, 1 failed, 2 usage, 3 refused, 4 stale or corrupt data.\n",
	      out);
}

void beam_command_help(const struct beam_command *command, FILE *out)
{
	fprintf(out, "Usage: rdbeam %s [options]%s%s\n\n%s.\n\n%s\n\nOptions:\n", command->name,
		*command->synopsis ? " " : "", command->synopsis, command->summary, command->text);
	beam_options_help(command->options, command->noptions, out);
	if (*command->examples)
		fputs("\nExamples:\n", out);
	for (const char *line = command->examples; *line;) {
		size_t len = strcspn(line, "\n");

		fprintf(out, "  %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

static int help_run(void *opts, int nargs, char **args)
{
	const struct help_opts *help = opts;
	const struct beam_command *command = NULL;

	if (nargs >= 1) {
		command = beam_command_find(args[0]);
		if (!command)
			return beam_command_unknown(&help->common, args[0]);
	}
	/* "bench sync": what a command takes first is told by the command's help. */
	if (nargs == 2 && !(command->max_args && strstr(command->synopsis, args[1])))
		return beam_fail_usage(&help->common, "unexpected argument: %s: see rdbeam help %s",
				       args[1], args[0]);
	if (help->completion)
		beam_completion_print(stdout);
	else if (help->man)
		beam_man_print(command, stdout);
	else if (command)
		beam_command_help(command, stdout);
	else
		beam_program_help(stdout);
	return BEAM_EXIT_DONE;
}

const struct beam_command beam_help_command = {
    .name = "help",
    .synopsis = "[COMMAND]",
    .summary = "List the commands, or one command's options",
    .text = "Prints the list of commands, or what rdbeam COMMAND --help prints.",
    .examples = "rdbeam help pull\nrdbeam help --man pull | man -l -",
    .options = help_options,
    .noptions = BEAM_NOPTIONS(help_options),
    .opts_bytes = sizeof(struct help_opts),
    .defaults = &help_defaults,
    .max_args = 2,
    .run = help_run,
};
