/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Generates bash completion from the command tables, like the man pages. The script lists the
 * options of each command, and for each option with a value what the value may be.
 */
#include <string.h>

#include "command.h"

/* True for names of values that are paths. */
static bool is_path(const char *value)
{
	return value && (strcmp(value, "PATH") == 0 || strcmp(value, "FILE") == 0 ||
			 strcmp(value, "SOCKET") == 0 || strcmp(value, "DIR") == 0);
}

/* Writes "auto|tcp" as the separate words that compgen takes. */
static void put_choices(const char *choices, FILE *out)
{
	for (; *choices; choices++)
		fputc(*choices == '|' ? ' ' : *choices, out);
}

/* Writes the pattern of a case: the command, then each name of the option. */
static void put_pattern(const struct beam_command *command, const struct beam_option *option,
			FILE *out)
{
	fprintf(out, "\t%s\\ %s", command->name, option->name);
	if (option->letter)
		fprintf(out, " | %s\\ -%c", command->name, option->letter);
	fputs(") ", out);
}

static void put_values(const struct beam_command *command, FILE *out)
{
	for (size_t i = 0; i < command->noptions; i++) {
		const struct beam_option *option = &command->options[i];

		if (option->kind == BEAM_OPT_FLAG)
			continue;
		put_pattern(command, option, out);
		if (option->kind == BEAM_OPT_CHOICE) {
			fputs("words='", out);
			put_choices(option->choices, out);
			fputs("' ;;\n", out);
		} else {
			fprintf(out, "words=%s ;;\n", is_path(option->value) ? "FILES" : "NONE");
		}
	}
}

static void put_options(const struct beam_command *command, FILE *out)
{
	const char *separator = "";

	fprintf(out, "\t%s) words='", command->name);
	for (size_t i = 0; i < command->noptions; i++) {
		fprintf(out, "%s%s", separator, command->options[i].name);
		separator = " ";
	}
	fputs("' ;;\n", out);
}

static void put_commands(FILE *out)
{
	for (size_t i = 0; beam_commands[i]; i++)
		fprintf(out, "%s%s", i ? " " : "", beam_commands[i]->name);
}

/* Positional arguments: a command's name for help, files where the synopsis names one. */
static void put_arguments(const struct beam_command *command, FILE *out)
{
	const char *words = "NONE";

	if (strstr(command->synopsis, "FILE"))
		words = "FILES";
	else if (strstr(command->synopsis, "COMMAND"))
		words = "$commands";
	fprintf(out, "\t%s) words=%s ;;\n", command->name, words);
}

void beam_completion_print(FILE *out)
{
	fputs("# bash completion of rdbeam(1); printed by rdbeam help --completion\n"
	      "_rdbeam() {\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
	      "\tlocal command=${COMP_WORDS[1]} words=\n"
	      "\tlocal commands='",
	      out);
	put_commands(out);
	fputs(
	    "'\n\tCOMPREPLY=()\n"
	    "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	    "\t\tmapfile -t COMPREPLY < <(compgen -W \"$commands --help --version\" -- \"$cur\")\n"
	    "\t\treturn\n"
	    "\tfi\n"
	    "\tcase \"$command $before\" in\n",
	    out);
	for (size_t i = 0; beam_commands[i]; i++)
		put_values(beam_commands[i], out);
	fputs("\tesac\n\tif [ -z \"$words\" ] && [[ $cur == -* ]]; then\n\tcase $command in\n",
	      out);
	for (size_t i = 0; beam_commands[i]; i++)
		put_options(beam_commands[i], out);
	fputs("\tesac\n\telif [ -z \"$words\" ]; then\n\tcase $command in\n", out);
	for (size_t i = 0; beam_commands[i]; i++)
		put_arguments(beam_commands[i], out);
	fputs("\tesac\n\tfi\n"
	      "\tcase $words in\n"
	      "\tNONE | '') ;;\n"
	      "\tFILES) compopt -o filenames 2>/dev/null\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
	      "\t*) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
	      "\tesac\n"
	      "}\n"
	      "complete -F _rdbeam rdbeam\n",
	      out);
}
