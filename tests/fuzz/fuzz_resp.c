/* SPDX-License-Identifier: BSD-3-Clause
 * The input is what a replica sends to the pull that feeds it: a sequence of commands. Every
 * argument must lie inside the input, and any prefix of a command must ask for more or be
 * refused. */
#include "fuzz.h"

#include <string.h>

#include "rdbeam/error.h"
#include "resp.h"

static void check_command(const uint8_t *data, size_t size, const struct beam_resp_command *command)
{
	struct beam_resp_command part;

	FUZZ_CHECK(size <= BEAM_RESP_COMMAND_MAX);
	FUZZ_CHECK(command->nargs >= 0 && command->nargs <= BEAM_RESP_ARGS_MAX);
	for (int i = 0; i < command->nargs; i++) {
		const uint8_t *at = command->args[i].at;

		FUZZ_CHECK(at >= data && command->args[i].len_bytes <= size);
		FUZZ_CHECK((size_t)(at - data) <= size - command->args[i].len_bytes);
	}
	(void)beam_resp_is(command, 0, "REPLCONF");
	FUZZ_CHECK(!beam_resp_is(command, command->nargs, "ACK"));
	FUZZ_CHECK(beam_resp_parse(data, size - 1, &part) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beam_resp_command command;
	size_t at = 0;
	int n;

	while ((n = beam_resp_parse(data + at, size - at, &command)) > 0) {
		FUZZ_CHECK((size_t)n <= size - at);
		check_command(data + at, (size_t)n, &command);
		at += (size_t)n;
	}
	FUZZ_CHECK(n == 0 || n == BEAM_E_PROTO);
	return 0;
}

#ifdef RDBEAM_FUZZERS
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	(void)seed;
	return LLVMFuzzerMutate(data, size, max_size);
}
#endif
