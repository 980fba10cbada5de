/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Prints rdbeam.so(7) during the build, from the module's own tables of settings and commands.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "help.h"
#include "rdbeam/version.h"
#include "roff.h"

static void put_head(void)
{
	puts(
	    ".TH RDBEAM.SO 7 \"\" \"rdbeam " RDBEAM_VERSION "\" \"rdbeam manual\"\n"
	    ".SH NAME\nrdbeam.so \\- snapshots of Redis and Valkey in shared memory\n"
	    ".SH SYNOPSIS\n.B loadmodule\n.I PATH/rdbeam.so\n[\\fB\\-\\-\\fINAME VALUE\\fR ...]\n"
	    ".SH DESCRIPTION\n"
	    "A module for redis\\-server 7.0 or newer and valkey\\-server. With it BGSAVE, save "
	    "points and disk\\-based syncs write the data set once, into shared memory. From there "
	    "the same bytes become dump.rdb, and go to replicas that are made by\n.BR "
	    "rdbeam\\-pull (1).\n"
	    "The module starts\n.BR rdbeamd (8)\n"
	    "and ends it with the server. If anything fails, stock saving continues in the "
	    "same fork, and INFO rdbeam says why.");
}

static void put_settings(void)
{
	struct beam_config_text text;

	puts(".SH SETTINGS\nEach setting can be given in the server's configuration as\n"
	     ".BI rdbeam. NAME\\ VALUE ,\n"
	     "after loadmodule as\n.BI \\-\\- NAME\\ VALUE ,\n"
	     "or changed by CONFIG SET, except daemon, which is fixed at load.");
	for (size_t i = 0; beam_config_describe(i, &text); i++) {
		if (!text.help) {
			fprintf(stderr, "rdbeam.%s has no help in config.c's table\n", text.name);
			exit(1);
		}
		printf(".TP\n.B rdbeam.");
		beam_roff_put(text.name, stdout);
		putchar('\n');
		beam_roff_put(text.help, stdout);
		printf("\nAllowed: ");
		beam_roff_put(text.allowed, stdout);
		printf(". Default: ");
		beam_roff_put(text.preset, stdout);
		puts(".");
	}
}

static void put_commands(void)
{
	puts(".SH COMMANDS\nFor administrators: from Redis 7.2 on in the ACL categories @admin and "
	     "@dangerous.");
	for (size_t i = 0; beam_command_help[i]; i++) {
		const char *line = beam_command_help[i];
		bool indented = strncmp(line, "    ", 4) == 0;
		bool is_command = strncmp(line, "RDBEAM.", 7) == 0;

		if (is_command)
			puts(".TP");
		else if (!indented && strncmp(beam_command_help[i - 1], "    ", 4) == 0)
			puts(".PP");
		printf("%s", is_command ? "\\fB" : "");
		beam_roff_put(indented ? line + 4 : line, stdout);
		puts(is_command ? "\\fR" : "");
	}
}

int main(void)
{
	put_head();
	put_settings();
	put_commands();
	puts(
	    ".SH INFORMATION\n.B INFO rdbeam\nhas state, sizes, times, rates, and fallbacks with "
	    "their reason;\n.BR rdbeam\\-status (1)\nshows them. The server's latency monitor gets "
	    "the event\n.B rdbeam\\-copy\nfor each copy, in milliseconds of copy\\-on\\-write.\n"
	    ".SH SEE ALSO\n.BR rdbeam (1),\n.BR rdbeam\\-pull (1),\n.BR rdbeam\\-doctor (1),\n"
	    ".BR rdbeamd (8)");
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
