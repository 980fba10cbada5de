/* SPDX-License-Identifier: BSD-3-Clause
 * The input is a command line: words separated by NULs. What is accepted must be within the limits
 * of the table, a refusal must be one line that says why, and no word may be lost. The first word
 * is also parsed as a size and as a server's address. */
#include "fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "options.h"
#include "redis.h"

#define WORDS_MAX  32
#define BYTES_MAX  4096
#define ERROR_MARK 0x5a

struct target {
	bool flag;
	const char *text;
	int64_t bounded, any;
	uint64_t bytes;
	const char *choice;
};

#define FIELD(name) offsetof(struct target, name)

static const struct beam_option table[] = {
    {.name = "--flag", .letter = 'f', .kind = BEAM_OPT_FLAG, .offset = FIELD(flag), .help = "-"},
    {.name = "-h", .kind = BEAM_OPT_STRING, .offset = FIELD(text), .value = "HOST", .help = "-"},
    {.name = "--port",
     .kind = BEAM_OPT_INT,
     .offset = FIELD(bounded),
     .min = 1,
     .max = 65535,
     .help = "-"},
    {.name = "--number", .letter = 'n', .kind = BEAM_OPT_INT, .offset = FIELD(any), .help = "-"},
    {.name = "--size",
     .kind = BEAM_OPT_BYTES,
     .offset = FIELD(bytes),
     .min = 16,
     .max = 1 << 30,
     .help = "-"},
    {.name = "--transport",
     .kind = BEAM_OPT_CHOICE,
     .offset = FIELD(choice),
     .choices = "auto|tcp|verbs",
     .help = "-"},
};

static int split(char *text, size_t size, char **words)
{
	int n = 1;

	words[0] = (char *)(uintptr_t) "rdbeam";
	for (size_t at = 0; at < size && n < WORDS_MAX; at += strlen(text + at) + 1)
		words[n++] = text + at;
	return n;
}

static bool is_word(char *const *words, int n, const char *text)
{
	for (int i = 1; i < n; i++)
		if (text >= words[i] && text <= words[i] + strlen(words[i]))
			return true;
	return false;
}

static void check_taken(const struct target *target, char *const *given, int ngiven)
{
	const char *choice = target->choice;

	FUZZ_CHECK(target->bounded >= 1 && target->bounded <= 65535);
	FUZZ_CHECK(target->bytes >= 16 && target->bytes <= 1 << 30);
	FUZZ_CHECK(!strcmp(choice, "auto") || !strcmp(choice, "tcp") || !strcmp(choice, "verbs"));
	FUZZ_CHECK(!target->text || is_word(given, ngiven, target->text));
}

static void check_line(const char *error, size_t cap)
{
	size_t len = strnlen(error, cap);

	FUZZ_CHECK(len > 0 && len < cap);
}

static void parse_line(char *text, size_t size)
{
	struct target target = {.bounded = 1, .bytes = 16, .choice = "auto"};
	char *given[WORDS_MAX], *words[WORDS_MAX], error[64] = "";
	int ngiven = split(text, size, given), n = ngiven;

	memcpy(words, given, sizeof(char *) * (size_t)n);
	int rc = beam_options_parse(table, sizeof(table) / sizeof(table[0]), &target, &n, words,
				    error, sizeof(error));

	FUZZ_CHECK(rc == 0 || rc == -EINVAL);
	if (rc) {
		check_line(error, sizeof(error));
		return;
	}
	FUZZ_CHECK(n >= 1 && n <= ngiven);
	for (int i = 1; i < n; i++)
		FUZZ_CHECK(is_word(given, ngiven, words[i]));
	check_taken(&target, given, ngiven);
}

static void parse_first(const char *word)
{
	struct beam_redis_addr addr, before;
	uint64_t bytes = ERROR_MARK;
	int rc = beam_parse_bytes(word, &bytes);

	FUZZ_CHECK(rc == 0 || ((rc == -EINVAL || rc == -ERANGE) && bytes == ERROR_MARK));
	memset(&addr, 0, sizeof(addr));
	addr.port = 6379;
	before = addr;
	rc = beam_redis_parse_addr(word, &addr);
	FUZZ_CHECK(rc == 0 || (rc == -EINVAL && memcmp(&addr, &before, sizeof(addr)) == 0));
	FUZZ_CHECK(memchr(addr.host, 0, sizeof(addr.host)) && addr.port <= 65535);
	FUZZ_CHECK(memchr(addr.user, 0, sizeof(addr.user)));
	FUZZ_CHECK(memchr(addr.password, 0, sizeof(addr.password)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0 || size > BYTES_MAX)
		return 0;
	text = malloc(size + 1); /* a block of its own, so that reads past its end are caught */
	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = 0;
	parse_first(text);
	parse_line(text, size);
	free(text);
	return 0;
}

#ifdef RDBEAM_FUZZERS
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	(void)seed;
	return LLVMFuzzerMutate(data, size, max_size);
}
#endif
