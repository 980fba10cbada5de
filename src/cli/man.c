/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Generates man pages from the command tables, in man(7) macros, so that they cannot contradict
 * --help.
 */
#include <ctype.h>
#include <string.h>

#include "command.h"
#include "rdbeam/version.h"
#include "roff.h"

static void put_paragraphs(const char *text, FILE *out)
{
	const char *gap;

	while ((gap = strstr(text, "\n\n"))) {
		char part[2048];
		size_t len = (size_t)(gap - text);

		if (len >= sizeof(part))
			len = sizeof(part) - 1;
		memcpy(part, text, len);
		part[len] = '\0';
		beam_roff_put(part, out);
		fputs("\n.PP\n", out);
		text = gap + 2;
	}
	beam_roff_put(text, out);
	fputc('\n', out);
}

static void put_option(const struct beam_option *option, FILE *out)
{
	fputs(".TP\n", out);
	if (option->letter)
		fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
	fputs("\\fB", out);
	beam_roff_put(option->name, out);
	fputs("\\fR", out);
	if (option->kind == BEAM_OPT_CHOICE) {
		fputs(" \\fI", out);
		beam_roff_put(option->choices, out);
		fputs("\\fR", out);
	} else if (option->kind != BEAM_OPT_FLAG) {
		fprintf(out, " \\fI%s\\fR", option->value ? option->value : "VALUE");
	}
	fputc('\n', out);
	beam_roff_put(option->help, out);
	fputc('\n', out);
}

static void put_examples(const char *examples, FILE *out)
{
	if (!*examples)
		return;
	fputs(".SH EXAMPLES\n.nf\n", out);
	beam_roff_put(examples, out);
	fputs("\n.fi\n", out);
}

static void put_exit_status(FILE *out)
{
	fputs(".SH EXIT STATUS\n"
	      ".TP\n.B 0\nDone.\n"
	      ".TP\n.B 1\nFailed; one line on standard error says what, and what to do.\n"
	      ".TP\n.B 2\nThe command line is wrong.\n"
	      ".TP\n.B 3\nRefused: no access, another job is in the way, or not supported there.\n"
	      ".TP\n.B 4\nThe data is stale or corrupt.\n",
	      out);
}

static void put_see_also(const struct beam_command *command, FILE *out)
{
	const char *separator = "";

	fputs(".SH SEE ALSO\n", out);
	if (command) {
		fputs(".BR rdbeam (1)", out);
		separator = ",\n";
	}
	for (size_t i = 0; beam_commands[i]; i++) {
		if (beam_commands[i] == command || beam_commands[i] == &beam_help_command)
			continue;
		fprintf(out, "%s.BR rdbeam\\-%s (1)", separator, beam_commands[i]->name);
		separator = ",\n";
	}
	fputs(",\n.BR rdbeam.so (7),\n.BR rdbeamd (8)\n", out);
}

static void print_command(const struct beam_command *command, FILE *out)
{
	fputs(".TH RDBEAM\\-", out);
	for (const char *c = command->name; *c; c++)
		fputc(toupper((unsigned char)*c), out);
	fputs(" 1 \"\" \"rdbeam " RDBEAM_VERSION "\" \"rdbeam manual\"\n", out);
	fprintf(out, ".SH NAME\nrdbeam\\-%s \\- ", command->name);
	beam_roff_put(command->summary, out);
	fprintf(out, "\n.SH SYNOPSIS\n\\fBrdbeam %s\\fR [\\fIoptions\\fR] ", command->name);
	beam_roff_put(command->synopsis, out);
	fputs("\n.SH DESCRIPTION\n", out);
	put_paragraphs(command->text, out);
	fputs(".SH OPTIONS\n", out);
	for (size_t i = 0; i < command->noptions; i++)
		put_option(&command->options[i], out);
	put_exit_status(out);
	put_examples(command->examples, out);
	put_see_also(command, out);
}

static void print_program(FILE *out)
{
	fputs(".TH RDBEAM 1 \"\" \"rdbeam " RDBEAM_VERSION "\" \"rdbeam manual\"\n"
	      ".SH NAME\nrdbeam \\- make, pull and check snapshots of Redis and Valkey\n"
	      ".SH SYNOPSIS\n\\fBrdbeam\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n.br\n"
	      "\\fBrdbeam\\fR \\fB\\-\\-help\\fR | \\fB\\-\\-version\\fR\n"
	      ".SH DESCRIPTION\n"
	      "The server's module rdbeam.so writes snapshots to shared memory. Replicas read them "
	      "from there, and its daemon writes them to disk. This program is for the people and "
	      "scripts that work with them.\n"
	      ".SH COMMANDS\n",
	      out);
	for (size_t i = 0; beam_commands[i]; i++) {
		fprintf(out, ".TP\n\\fBrdbeam %s\\fR\n", beam_commands[i]->name);
		beam_roff_put(beam_commands[i]->summary, out);
		fputs(".\n", out);
	}
	fputs(".SH ENVIRONMENT\n"
	      ".TP\n.B REDISCLI_AUTH\nPassword for the server, unless an option gives one.\n"
	      ".TP\n.B RDBEAM_FROM_PASS\n.TQ\n.B RDBEAM_TO_PASS\n"
	      "Passwords for the two servers of a pull; they take precedence over REDISCLI_AUTH.\n"
	      ".TP\n.B RDBEAM_RENAMED\nNew names of commands that a server renames "
	      "(rename\\-command): \"CONFIG=name REPLICAOF=name\". Used after the server has "
	      "answered that it does not know a command.\n",
	      out);
	put_exit_status(out);
	put_see_also(NULL, out);
}

void beam_man_print(const struct beam_command *command, FILE *out)
{
	if (command)
		print_command(command, out);
	else
		print_program(out);
}
