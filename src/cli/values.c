/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The generator behind rdbeam fill. It must be faster than a server accepts values: about 1 GB/s
 * raw, half of that as text.
 */
#include "values.h"

#include <string.h>

#define CHARS_PER_STEP 10 /* 6 bits each */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint64_t rotate_left(uint64_t x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static uint64_t next_u64(uint64_t state[4])
{
	uint64_t result = rotate_left(state[1] * 5, 7) * 9;
	uint64_t shifted = state[1] << 17;

	state[2] ^= state[0];
	state[3] ^= state[1];
	state[1] ^= state[2];
	state[0] ^= state[3];
	state[2] ^= shifted;
	state[3] = rotate_left(state[3], 45);
	return result;
}

void beam_values_init(struct beam_values *values, uint64_t seed, bool raw)
{
	/* splitmix64: the state must not be all zeros, and similar seeds must not give similar
	 * values. */
	for (size_t i = 0; i < 4; i++) {
		uint64_t z;

		seed += 0x9e3779b97f4a7c15u;
		z = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		values->state[i] = z ^ (z >> 31);
	}
	for (size_t i = 0; i < 4096; i++) {
		values->pairs[i][0] = alphabet[i & 63];
		values->pairs[i][1] = alphabet[i >> 6];
	}
	values->raw = raw;
}

static void next_raw(uint64_t state[4], char *out, size_t len_bytes)
{
	while (len_bytes > 0) {
		uint64_t bits = next_u64(state);
		size_t take = len_bytes < sizeof(bits) ? len_bytes : sizeof(bits);

		memcpy(out, &bits, take);
		out += take;
		len_bytes -= take;
	}
}

/* 60 bits make ten characters, written two at a time from a table of all pairs. */
static void next_text(struct beam_values *values, char *out, size_t len_bytes)
{
	while (len_bytes > 0) {
		uint64_t bits = next_u64(values->state);
		char chars[CHARS_PER_STEP];
		size_t take = len_bytes < sizeof(chars) ? len_bytes : sizeof(chars);

		for (size_t i = 0; i < sizeof(chars); i += 2, bits >>= 12)
			memcpy(chars + i, values->pairs[bits & 4095], 2);
		memcpy(out, chars, take);
		out += take;
		len_bytes -= take;
	}
}

void beam_values_next(struct beam_values *values, char *out, size_t len_bytes)
{
	if (values->raw)
		next_raw(values->state, out, len_bytes);
	else
		next_text(values, out, len_bytes);
}

uint64_t beam_values_number(struct beam_values *values)
{
	return next_u64(values->state);
}

void beam_values_mark(char *out, size_t len_bytes, uint64_t number)
{
	for (size_t i = 0; i < len_bytes && (i < 4 || number > 0) && i < 11; i++, number >>= 6)
		out[i] = alphabet[number & 63];
}
