/* SPDX-License-Identifier: BSD-3-Clause */
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONCE_DIGITS 16

void beam_to_hex(const uint8_t *bytes, size_t len_bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len_bytes; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = '\0';
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int beam_from_hex(const char *text, uint8_t *bytes, size_t len_bytes)
{
	if (strlen(text) != 2 * len_bytes)
		return -EINVAL;
	for (size_t i = 0; i < len_bytes; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

bool beam_gen_same(const struct beam_gen *a, const struct beam_gen *b)
{
	return a->nonce == b->nonce && a->counter == b->counter;
}

void beam_gen_to_text(const struct beam_gen *gen, char out[BEAM_GEN_TEXT_BYTES])
{
	snprintf(out, BEAM_GEN_TEXT_BYTES, "%016" PRIx64 "-%" PRIu64, gen->nonce, gen->counter);
}

int beam_gen_from_text(const char *text, struct beam_gen *gen)
{
	struct beam_gen found = {0};
	char *end;

	for (int i = 0; i < NONCE_DIGITS; i++) {
		int value = digit(text[i]);

		if (value < 0)
			return -EINVAL;
		found.nonce = found.nonce << 4 | (uint64_t)value;
	}
	if (text[NONCE_DIGITS] != '-' || digit(text[NONCE_DIGITS + 1]) < 0 ||
	    digit(text[NONCE_DIGITS + 1]) > 9)
		return -EINVAL;
	errno = 0;
	found.counter = strtoull(text + NONCE_DIGITS + 1, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*gen = found;
	return 0;
}

void beam_text_plain(char *text)
{
	for (unsigned char *at = (unsigned char *)text; *at; at++)
		if (*at < 0x20 || *at == 0x7f)
			*at = '?';
}

/* Length in bytes of the character at `at`; 0 if it is not valid UTF-8. */
static size_t utf8_bytes(const unsigned char *at)
{
	size_t n = at[0] < 0x80   ? 1
		   : at[0] < 0xc2 ? 0
		   : at[0] < 0xe0 ? 2
		   : at[0] < 0xf0 ? 3
		   : at[0] < 0xf5 ? 4
				  : 0;

	for (size_t i = 1; i < n; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong encodings, surrogates, and what is above U+10FFFF. */
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90) ||
	    (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return n;
}

void beam_text_utf8(char *text)
{
	for (unsigned char *at = (unsigned char *)text; *at;) {
		size_t n = utf8_bytes(at);

		if (!n)
			*at = '?';
		at += n ? n : 1;
	}
}

char *beam_strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = malloc(bytes);

	return copy ? memcpy(copy, text, bytes) : NULL;
}
