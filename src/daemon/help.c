/* SPDX-License-Identifier: BSD-3-Clause
 * The texts of rdbeamd, and their layout as plain text and as roff. */
#include "help.h"

#include "rdbeam/version.h"
#include "roff.h"

static const char *const paragraphs[] = {
    "The daemon behind rdbeam.so: it keeps snapshots in shared memory, writes them to\n"
    "disk and serves them to replicas. redis-server starts it when it loads the module\n"
    "(loadmodule rdbeam.so). It runs as the server's user and ends with its server.\n"
    "SIGTERM has no effect while the server runs. SIGKILL ends it at once, and the server\n"
    "starts another.",
    "There is nothing to configure here: see CONFIG GET rdbeam.* on the server. Its\n"
    "messages are in the server's log and in INFO rdbeam.",
};

static const struct {
	const char *name, *text;
} options[] = {
    {"--help", "Print this help and exit."},
    {"--man", "Print the man page in roff and exit."},
    {"--version", "Print the version and exit."},
    {"--test-thp", "Test whether huge pages suit rdbeam.fork-thp. Exit status: 0 they do, 3 the\n"
		   "kernel provides none, 4 a write after a fork copies a whole page, 1 failed."},
    {"--wait", "Internal, where there is no rdbeam-wait: the server's saving child becomes\n"
	       "this process, which waits until the dump is on disk and renames it."},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

void help_print(FILE *out)
{
	fputs("Usage: rdbeamd [option]\n", out);
	for (size_t i = 0; i < COUNT(paragraphs); i++)
		fprintf(out, "\n%s\n", paragraphs[i]);
	fputs("\nOptions:\n", out);
	for (size_t i = 0; i < COUNT(options); i++) {
		fprintf(out, "  %-10s ", options[i].name);
		for (const char *c = options[i].text; *c; c++)
			fprintf(out, *c == '\n' ? "\n             " : "%c", *c);
		fputc('\n', out);
	}
}

void help_man(FILE *out)
{
	fputs(".TH RDBEAMD 8 \"\" \"rdbeam " RDBEAM_VERSION "\" \"rdbeam manual\"\n"
	      ".SH NAME\nrdbeamd \\- keeps and serves snapshots of Redis and Valkey\n"
	      ".SH SYNOPSIS\n.B rdbeamd\n[\\fIoption\\fR]\n.SH DESCRIPTION\n",
	      out);
	for (size_t i = 0; i < COUNT(paragraphs); i++) {
		if (i)
			fputs(".PP\n", out);
		beam_roff_put(paragraphs[i], out);
		fputc('\n', out);
	}
	fputs(".SH OPTIONS\n", out);
	for (size_t i = 0; i < COUNT(options); i++) {
		fputs(".TP\n.B ", out);
		beam_roff_put(options[i].name, out);
		fputc('\n', out);
		beam_roff_put(options[i].text, out);
		fputc('\n', out);
	}
	fputs(".SH SEE ALSO\n.BR rdbeam (1),\n.BR rdbeam.so (7)\n", out);
}
