/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam(1): finds the command in the table, parses its options, and runs it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "log.h"
#include "rdbeam/version.h"
#include "report.h"

const struct beam_command *const beam_commands[] = {
    &beam_snapshot_command, &beam_pull_command,
    &beam_relay_command,    &beam_status_command,
    &beam_verify_command,   &beam_fill_command,
    &beam_bench_command,    &beam_doctor_command,
    &beam_help_command,     NULL,
};

const struct beam_command *beam_command_find(const char *name)
{
	for (size_t i = 0; beam_commands[i]; i++) {
		if (strcmp(beam_commands[i]->name, name) == 0)
			return beam_commands[i];
	}
	return NULL;
}

int beam_command_unknown(const struct beam_common *common, const char *name)
{
	for (size_t i = 0; beam_commands[i]; i++) {
		if (beam_is_slip(name, strlen(name), beam_commands[i]->name))
			return beam_fail_usage(common, "unknown command: %s: did you mean %s?",
					       name, beam_commands[i]->name);
	}
	return beam_fail_usage(common, "unknown command: %s: rdbeam help lists them", name);
}

/* True if --json is among the arguments, for when they cannot be parsed. */
static bool asks_for_json(int argc, char *const *argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

/* Parses argv[1..argc) by the command's table and runs the command. */
static int run_command(const struct beam_command *command, int argc, char **argv)
{
	void *opts = malloc(command->opts_bytes);
	const struct beam_common *common = opts;
	const struct beam_common refusal = {.json = asks_for_json(argc, argv)};
	char error[512];
	int exit_with;

	if (!opts) {
		fputs("rdbeam: out of memory: options: free some\n", stderr);
		return BEAM_EXIT_FAILED;
	}
	memcpy(opts, command->defaults, command->opts_bytes);
	if (beam_options_parse(command->options, command->noptions, opts, &argc, argv, error,
			       sizeof(error)) != 0) {
		exit_with = beam_fail_usage(&refusal, "%s", error);
	} else if (common->help) {
		beam_command_help(command, stdout);
		exit_with = BEAM_EXIT_DONE;
	} else if (argc - 1 < command->min_args) {
		exit_with = beam_fail_usage(common, "missing argument: %s: give %s", command->name,
					    command->synopsis);
	} else if (argc - 1 > command->max_args) {
		exit_with = beam_fail_usage(common, "unexpected argument: %s: see rdbeam %s --help",
					    argv[1 + command->max_args], command->name);
	} else {
		beam_interrupt_init(common);
		exit_with = command->run(opts, argc - 1, argv + 1);
	}
	free(opts);
	return exit_with;
}

/* Output that could not be written is a failure, not a success with a short output. */
static int flush_output(int exit_with)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_with;
	/* A reader that has seen enough (head) need not be told. */
	if (errno != EPIPE)
		perror("rdbeam: cannot write: standard output");
	return exit_with ? exit_with : BEAM_EXIT_FAILED;
}

int main(int argc, char **argv)
{
	const struct beam_command *command;

	signal(SIGPIPE, SIG_IGN); /* hiredis may write to sockets that the server has closed */
	/* If our parent ignores it, we could not learn how our children ended. */
	signal(SIGCHLD, SIG_DFL);
	beam_log_init(NULL, NULL, BEAM_LOG_WARNING);
	if (argc < 2) {
		beam_program_help(stderr);
		return BEAM_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		beam_program_help(stdout);
		return flush_output(BEAM_EXIT_DONE);
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
		puts("rdbeam " RDBEAM_VERSION);
		return flush_output(BEAM_EXIT_DONE);
	}
	command = beam_command_find(argv[1]);
	if (!command) {
		struct beam_common refusal = {.json = asks_for_json(argc - 1, argv + 1)};

		return flush_output(beam_command_unknown(&refusal, argv[1]));
	}
	return flush_output(run_command(command, argc - 1, argv + 1));
}
