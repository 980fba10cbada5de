/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Values for rdbeam fill: cheap pseudo-random bytes (xoshiro256**, a public domain algorithm by
 * Blackman and Vigna), as text of a base64 alphabet or raw. Not for secrets. Single-threaded.
 */
#ifndef BEAM_VALUES_H
#define BEAM_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_values {
	uint64_t state[4];
	bool raw;
	char pairs[4096][2]; /* of the alphabet */
};

/* Initializes the generator. The same seed gives the same values. */
void beam_values_init(struct beam_values *values, uint64_t seed, bool raw);

/* Writes the next `len_bytes` bytes to `out`. */
void beam_values_next(struct beam_values *values, char *out, size_t len_bytes);

/* Returns the next 64-bit number. */
uint64_t beam_values_number(struct beam_values *values);

/* Writes `number` in the base64 alphabet over the first bytes of a value, so that the values of a
 * collection differ as far as their length allows. */
void beam_values_mark(char *out, size_t len_bytes, uint64_t number);

#endif
